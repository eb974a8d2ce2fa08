"""One private step against one plain step of the same network, taking turns in one run.

    python benchmarks/dp_sgd.py [--quick] [--out out/bench/dp-sgd.json]

- *plain*: forward, backward and SGD of ordinary Keras layers in one tf.function; the base of every ratio.
- *plain, our norm*: the same with fedpriv's faster group normalisation, which plain training could have too.
- *fedpriv*: the private step as trained, with Poisson sampling, chunks, clipping, noise and SGD.
- *DPModel*, *DPModel fast*: tensorflow-privacy's model; without and with its fast clipping, which has no rule
  for convolutions, so fedpriv's are lent to it.
- *DP optimizer*, *vectorised*: tensorflow-privacy's Keras optimizers.

Each way lives in a process of its own, two threads each; they take turns, step by step, so that a
disturbance meets all. A ratio is the median over turns of CPU seconds (all threads of the process) over those
of the plain step in the same turn: on a shared machine the clock says little. Peak memory is what the process
grew by. What does not take its first steps within the limits of time and memory is skipped, there and in
larger settings.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import platform
import resource
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from fedpriv.legacy_keras import keras

CLASSES = 4
CLIP, NOISE, RATE = 1.0, 1.0, 0.1
THREADS = 2
RECORDS_PER_BATCH = 4
"""A hospital's records over the expected batch: the sampling probability is its inverse."""

FIRST_STEP_LIMIT_S = 90.0
MEMORY_LIMIT_GIB = 8
WARM_UP = (2, 8)
"""Untimed first steps, of the others and of fedpriv: each shape of its chunks is compiled once."""

MOST_TURNS, FEWEST_TURNS = 15, 3

PLAIN = "plain"
OURS = ("plain, our norm", "fedpriv")
MODELS = ("DPModel", "DPModel fast")
OPTIMIZERS = ("DP optimizer", "vectorised")


@dataclass(frozen=True)
class Setting:
    """What is trained: a network on square images, in batches."""

    network: str
    size: int
    batch: int


@dataclass(frozen=True)
class Cell:
    """One way in one setting: median seconds of a step, its ratio to plain, growth of its process."""

    setting: Setting
    way: str
    cpu_s: float
    wall_s: float
    ratio: float
    peak_mib: float
    turns: int


@dataclass(frozen=True)
class Skipped:
    """A way that could not be measured in one setting, and why."""

    setting: Setting
    way: str
    reason: str


# --- the ways, each built in its own process --------------------------------------------------------------


def wide_cnn(size: int, norm: type[keras.layers.Layer]) -> keras.Model:
    """A GroupNorm CNN of 242 k parameters, all of them trained: what a step costs without a fixed front."""
    from fedpriv.legacy_keras import keras

    layers = keras.layers
    inputs = hidden = layers.Input((size, size, 3))
    for filters, strides in ((32, 2), (64, 1), (64, 2), (128, 2), (96, 2)):
        hidden = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(hidden)
        hidden = norm(8)(hidden)
        hidden = layers.Activation("relu")(hidden)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(hidden)))


def our_norm() -> type[keras.layers.Layer]:
    """Keras' layer with fedpriv's forward and backward pass."""
    from fedpriv.dp.layer_gradients import group_normalization
    from fedpriv.legacy_keras import keras

    class OurNorm(keras.layers.GroupNormalization):  # type: ignore[misc]
        def call(self, inputs: object) -> object:
            return group_normalization(self, inputs)[0]

    return OurNorm


def build(network: str, size: int, norm: type[keras.layers.Layer]) -> tuple[keras.Model, tuple[int, ...]]:
    """The trained part of a network and the shape that it takes."""
    from fedpriv.model.network import NetworkName, build_network, split_front

    if network == "wide-cnn":
        return wide_cnn(size, norm), (size, size, 3)
    front, trunk = split_front(build_network(NetworkName(network), image_size=size, classes=CLASSES))
    return trunk, tuple(front.output_shape[1:])


def make_step(way: str, setting: Setting) -> Callable[[], None]:
    """One training step of ``way``, ready to be timed."""
    from fedpriv.legacy_keras import keras

    norm = our_norm() if way == "plain, our norm" else keras.layers.GroupNormalization
    model, shape = build(setting.network, setting.size, norm)
    generator = np.random.default_rng(0)
    records = setting.batch * (RECORDS_PER_BATCH if way == "fedpriv" else 1)
    images = generator.standard_normal((records, *shape), dtype=np.float32)
    labels = generator.integers(0, CLASSES, records).astype(np.int32)
    if way == "fedpriv":
        return private_step(model, images, labels, setting.batch)
    if way in MODELS:
        return dp_model_step(model, images, labels, fast=way == "DPModel fast")
    if way in OPTIMIZERS:
        return optimizer_step(model, images, labels, vectorised=way == "vectorised")
    return plain_step(model, images, labels)


def plain_step(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """SGD on the mean loss."""
    from fedpriv.legacy_keras import keras, tf

    optimizer = keras.optimizers.legacy.SGD(RATE)

    @tf.function
    def step(batch: tf.Tensor, truth: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = model(batch, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))

    return lambda: step(images, labels)


def private_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, expected: int
) -> Callable[[], None]:
    """As a hospital trains; the batches are Poisson samples of ``expected`` records."""
    from fedpriv.dp.sampling import PoissonSampler
    from fedpriv.dp.step import PrivateStep
    from fedpriv.model.weights import from_vector, to_vector

    sampler = PoissonSampler(np.arange(len(images)), sampling_probability=expected / len(images))
    step = PrivateStep(
        model, images, labels, sampler, l2_clip_norm=CLIP, noise_multiplier=NOISE, expected_units=expected
    )
    weights = to_vector(model)

    def take() -> None:
        nonlocal weights
        weights = weights - (RATE * step.gradient()).astype(np.float32)
        from_vector(model, weights)

    return take


def optimizer_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, *, vectorised: bool
) -> Callable[[], None]:
    """tensorflow-privacy's optimizers, one microbatch an example."""
    from fedpriv.legacy_keras import tf  # isort: skip - before anything that imports TensorFlow
    from tensorflow_privacy.privacy.optimizers import dp_optimizer_keras, dp_optimizer_keras_vectorized

    kind = (
        dp_optimizer_keras_vectorized.VectorizedDPKerasSGDOptimizer
        if vectorised
        else dp_optimizer_keras.DPKerasSGDOptimizer
    )
    optimizer = kind(
        l2_norm_clip=CLIP, noise_multiplier=NOISE, num_microbatches=len(images), learning_rate=RATE
    )

    @tf.function
    def step(batch: tf.Tensor, truth: tf.Tensor) -> None:
        with tf.GradientTape(persistent=True) as tape:
            logits = model(batch, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits)
        optimizer.minimize(losses, model.trainable_weights, tape=tape)

    return lambda: step(images, labels)


def dp_model_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, *, fast: bool
) -> Callable[[], None]:
    """tensorflow-privacy's model; its default, XLA, is far slower on a CPU."""
    from fedpriv.legacy_keras import keras, tf  # isort: skip - before anything that imports TensorFlow
    from tensorflow_privacy.privacy.keras_models.dp_keras_model import DPModel

    private = DPModel(
        l2_norm_clip=CLIP,
        noise_multiplier=NOISE,
        use_xla=False,
        layer_registry=lent_rules() if fast else None,
        inputs=model.inputs,
        outputs=model.outputs,
    )
    private.compile(
        optimizer=keras.optimizers.legacy.SGD(RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    train = private.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    return lambda: train(batches)


def lent_rules() -> object:
    """The layer rules of fedpriv in the shape of tensorflow-privacy's: squared norms instead of gradients."""
    from fedpriv.legacy_keras import keras, tf  # isort: skip - before anything that imports TensorFlow
    from tensorflow_privacy.privacy.fast_gradient_clipping.layer_registry import LayerRegistry

    from fedpriv.dp import layer_gradients

    rules, lent = layer_gradients.registry(), LayerRegistry()

    def lend(
        layer: keras.layers.Layer, args: tuple, kwargs: dict, tape: object, _microbatches: object
    ) -> tuple:
        output, gradients = rules.lookup(layer)(layer, *args, **kwargs)
        tape.watch(output)

        def squared_norms(at_output: tf.Tensor) -> tf.Tensor:
            units = at_output.shape[0]
            rows = [tf.reshape(part, [units, -1]) for part in gradients(at_output, units)]
            return tf.add_n([tf.reduce_sum(tf.square(row), 1) for row in rows])

        return output, output, squared_norms

    for kind in (keras.layers.Conv2D, keras.layers.Dense, keras.layers.GroupNormalization):
        lent.insert(kind, lend)
    return lent


# --- a process for each way -------------------------------------------------------------------------------


def work(way: str, setting: Setting, link: Connection) -> None:
    """Answer "step" with (CPU seconds, wall seconds) and "peak" with MiB, until the link closes."""
    limit = MEMORY_LIMIT_GIB << 30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    from fedpriv.legacy_keras import tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    try:
        step = make_step(way, setting)
        before = memory_mib("VmRSS")
        for _ in range(WARM_UP[way == "fedpriv"]):
            step()
        link.send("ready")
        while link.recv() == "step":
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            link.send((time.process_time() - cpu, time.perf_counter() - wall))
        link.send(memory_mib("VmHWM") - before)
    except Exception as failure:  # noqa: BLE001 - whatever a peer raises is the reason why it is skipped
        link.send(f"{type(failure).__name__}: {str(failure).strip().splitlines()[0][:100]}")


def memory_mib(field: str) -> float:
    """Of this process, from Linux."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


class Worker:
    """One way of one setting in a process of its own; RuntimeError, with the reason, if it cannot run."""

    def __init__(self, way: str, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, there = context.Pipe()
        self._process = context.Process(target=work, args=(way, setting, there), daemon=True)
        self._process.start()
        there.close()
        try:
            answer = self._answer()
            if answer != "ready":
                raise RuntimeError(answer)
        except RuntimeError:
            self._process.kill()
            raise

    def step(self) -> tuple[float, float]:
        """CPU and wall seconds of one step."""
        self._link.send("step")
        return self._answer()

    def finish(self) -> float:
        """End the process; the MiB that it grew by."""
        self._link.send("peak")
        peak = self._answer()
        self._process.join()
        return peak

    def _answer(self) -> object:
        if not self._link.poll(FIRST_STEP_LIMIT_S):
            raise RuntimeError(f"no step within {FIRST_STEP_LIMIT_S:.0f} s")
        try:
            return self._link.recv()
        except EOFError:
            raise RuntimeError(f"ended by the limit of {MEMORY_LIMIT_GIB} GiB") from None


# --- measuring --------------------------------------------------------------------------------------------


def measure(setting: Setting, ways: list[str], budget_s: float) -> tuple[list[Cell], list[Skipped]]:
    """All ways of one setting take turns for about ``budget_s`` seconds."""
    workers: dict[str, Worker] = {}
    skipped = []
    for way in ways:
        try:
            workers[way] = Worker(way, setting)
        except RuntimeError as failure:
            skipped.append(Skipped(setting, way, str(failure)))
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in workers}
    end = time.monotonic() + budget_s
    for turn in range(MOST_TURNS):
        if turn >= FEWEST_TURNS and time.monotonic() > end:
            break
        for way, worker in workers.items():
            times[way].append(worker.step())
    plain = [cpu for cpu, _ in times[PLAIN]]
    cells = []
    for way, pairs in times.items():
        cpus, walls = zip(*pairs, strict=True)
        cells.append(
            Cell(
                setting,
                way,
                cpu_s=statistics.median(cpus),
                wall_s=statistics.median(walls),
                ratio=statistics.median(cpu / base for cpu, base in zip(cpus, plain, strict=True)),
                peak_mib=workers[way].finish(),
                turns=len(pairs),
            )
        )
    return cells, skipped


def show(cells: list[Cell], skipped: list[Skipped]) -> None:
    """Lines of the table."""
    for cell in cells:
        setting = cell.setting
        print(
            f"{setting.network:10} {setting.size:4} {setting.batch:5}  {cell.way:15}"
            f" {cell.cpu_s * 1e3:9.0f} ms cpu {cell.wall_s * 1e3:9.0f} ms"
            f" {cell.ratio:7.2f} x {cell.peak_mib:7.0f} MiB  {cell.turns:3} turns",
            flush=True,
        )
    for skip in skipped:
        setting = skip.setting
        print(
            f"{setting.network:10} {setting.size:4} {setting.batch:5}  {skip.way:15} skipped: {skip.reason}",
            flush=True,
        )


def measure_all(plan: list[tuple[Setting, list[str], float]]) -> tuple[list[Cell], list[Skipped]]:
    """Every setting in turn; a way that failed once is not tried in the settings after it."""
    cells: list[Cell] = []
    skipped: list[Skipped] = []
    for setting, ways, budget_s in plan:
        failed = {skip.way: skip for skip in reversed(skipped)}
        new_cells, new_skipped = measure(setting, [way for way in ways if way not in failed], budget_s)
        new_skipped += [
            Skipped(setting, way, f"as at size {failed[way].setting.size}, batch {failed[way].setting.batch}")
            for way in ways
            if way in failed
        ]
        show(new_cells, new_skipped)
        cells += new_cells
        skipped += new_skipped
    return cells, skipped


def plot(cells: list[Cell], path: Path) -> None:
    """Ratios to the plain step, one group of bars a setting."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    settings = list(dict.fromkeys(cell.setting for cell in cells))
    ways = list(dict.fromkeys(cell.way for cell in cells if cell.way != PLAIN))
    figure, axes = plt.subplots(figsize=(11, 4.5), layout="constrained")
    width = 0.8 / len(ways)
    for place, way in enumerate(ways):
        ratios = {settings.index(cell.setting): cell.ratio for cell in cells if cell.way == way}
        bars = axes.bar([at + place * width for at in ratios], list(ratios.values()), width, label=way)
        axes.bar_label(bars, fmt="%.2f", fontsize=6)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("CPU time of a step over the plain Keras step")
    axes.set_xticks(
        [at + 0.4 for at in range(len(settings))],
        [f"{s.network}\n{s.size} x {s.size}\nbatch {s.batch}" for s in settings],
        fontsize=7,
    )
    axes.legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    """Measure, print, write JSON and a plot beside it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 x 64 only, few turns, no optimizers")
    parser.add_argument("--out", type=Path, default=Path("out/bench/dp-sgd.json"))
    arguments = parser.parse_args()
    common = [PLAIN, *OURS, *MODELS]
    plan: list[tuple[Setting, list[str], float]] = []
    if not arguments.quick:
        plan.append((Setting("wide-cnn", 64, 32), [*common, *OPTIMIZERS], 15.0))
    for size in (64,) if arguments.quick else (64, 128):
        for batch in (64, 256):
            optimizers = () if arguments.quick else OPTIMIZERS
            plan.append(
                (Setting("wide-cnn", size, batch), [*common, *optimizers], 10.0 if arguments.quick else 25.0)
            )
            plan.append((Setting("smear-cnn", size, batch), [PLAIN, "fedpriv"], 5.0))
    cells, skipped = measure_all(plan)
    if importlib.util.find_spec("opacus") is None:
        print("opacus is not installed: not compared")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    results = {
        "machine": {"processor": platform.processor(), "threads": THREADS},
        "cells": [asdict(cell) for cell in cells],
        "skipped": [asdict(skip) for skip in skipped],
    }
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    plot(cells, arguments.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
