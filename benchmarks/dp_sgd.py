"""One private step against one plain step of the same network, interleaved in one run.

    python benchmarks/dp_sgd.py [--quick] [--peers] [--out out/dp_sgd.json]

- *plain*: forward, backward and SGD in one tf.function, as Keras trains; the base of every ratio.
- *fedpriv*: the private step as trained, with Poisson sampling, chunks, clipping, noise and SGD.
- *DPModel*, *DP optimizer*, *vectorised*: tensorflow-privacy's model and its two Keras optimizers, with
  ``--peers`` only and at a small batch, since the optimizers trace for minutes. Its fast gradient clipping
  has no rule for convolutions.

Every time is the median over repetitions of CPU seconds of this one process, so that other processes do not
blur it; wall-clock seconds stand beside it. Peak memory is measured for each way in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.legacy_keras import keras, tf  # isort: skip - before anything that imports TensorFlow

from tensorflow_privacy.privacy.keras_models.dp_keras_model import DPModel
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasSGDOptimizer
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import VectorizedDPKerasSGDOptimizer

from fedpriv.dp.sampling import PoissonSampler
from fedpriv.dp.step import PrivateStep
from fedpriv.model.network import NetworkName, build_network, split_front
from fedpriv.model.weights import from_vector, to_vector

if TYPE_CHECKING:
    from collections.abc import Callable

layers = keras.layers
CLASSES = 4
CLIP, NOISE, RATE = 1.0, 1.0, 0.1
THREADS = 2


@dataclass(frozen=True)
class Setting:
    """What is trained: a network on square images, in batches."""

    network: str
    size: int
    batch: int


@dataclass
class Cell:
    """One way in one setting: median seconds of a step, its ratio to plain, peak memory of its process."""

    setting: Setting
    way: str
    cpu_s: float
    wall_s: float
    ratio: float
    peak_mib: float


def wide_cnn(size: int) -> keras.Model:
    """A GroupNorm CNN of 242 k parameters, all of them trained: what a step costs without a fixed front."""
    inputs = hidden = layers.Input((size, size, 3))
    for filters, strides in ((32, 2), (64, 1), (64, 2), (128, 2), (96, 2)):
        hidden = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(hidden)
        hidden = layers.GroupNormalization(8)(hidden)
        hidden = layers.Activation("relu")(hidden)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(hidden)))


def build(network: str, size: int) -> tuple[keras.Model, tuple[int, ...]]:
    """The trained part of a network and the shape that it takes."""
    if network == "wide-cnn":
        model = wide_cnn(size)
        return model, (size, size, 3)
    front, trunk = split_front(build_network(NetworkName(network), image_size=size, classes=CLASSES))
    return trunk, tuple(front.output_shape[1:])


def make_step(way: str, setting: Setting) -> Callable[[], None]:
    """One training step of ``way``, ready to be timed."""
    model, shape = build(setting.network, setting.size)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(setting.batch, *shape)).astype(np.float32)
    labels = generator.integers(0, CLASSES, setting.batch).astype(np.int32)
    match way:
        case "plain":
            return plain_step(model, images, labels)
        case "fedpriv":
            return private_step(model, images, labels, setting.batch)
        case "DP optimizer":
            return optimizer_step(model, images, labels, DPKerasSGDOptimizer)
        case "vectorised":
            return optimizer_step(model, images, labels, VectorizedDPKerasSGDOptimizer)
        case "DPModel":
            return dp_model_step(model, images, labels)
    raise ValueError(way)


def plain_step(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """SGD on the mean loss."""
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
    model: keras.Model, images: np.ndarray, labels: np.ndarray, batch: int
) -> Callable[[], None]:
    """As a hospital trains: the probability is 1, so that every step has the same batch as the others."""
    sampler = PoissonSampler(np.arange(batch), sampling_probability=1.0)
    step = PrivateStep(
        model, images, labels, sampler, l2_clip_norm=CLIP, noise_multiplier=NOISE, expected_units=batch
    )
    weights = to_vector(model)

    def take() -> None:
        nonlocal weights
        weights = weights - (RATE * step.gradient()).astype(np.float32)
        from_vector(model, weights)

    return take


def optimizer_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, kind: type
) -> Callable[[], None]:
    """tensorflow-privacy's optimizers, one microbatch an example."""
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


def dp_model_step(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """tensorflow-privacy's model with per-example gradients; its default, XLA, is far slower on a CPU."""
    private = DPModel(
        l2_norm_clip=CLIP, noise_multiplier=NOISE, use_xla=False, inputs=model.inputs, outputs=model.outputs
    )
    private.compile(
        optimizer=keras.optimizers.legacy.SGD(RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    train = private.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    return lambda: train(batches)


def measure(settings: list[Setting], ways: list[str], repetitions: int) -> list[Cell]:
    """All ways of one setting take turns, so that a disturbance meets all of them."""
    cells = []
    for setting in settings:
        steps = {way: make_step(way, setting) for way in ways}
        for step in steps.values():
            step()
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(repetitions):
            for way, step in steps.items():
                cpu, wall = time.process_time(), time.perf_counter()
                step()
                times[way].append((time.process_time() - cpu, time.perf_counter() - wall))
        plain = [cpu for cpu, _ in times["plain"]]
        for way, pairs in times.items():
            cpus, walls = zip(*pairs, strict=True)
            ratio = statistics.median(cpu / base for cpu, base in zip(cpus, plain, strict=True))
            cell = Cell(
                setting, way, statistics.median(cpus), statistics.median(walls), ratio, peak_mib(way, setting)
            )
            cells.append(cell)
            show(cell)
    return cells


def peak_mib(way: str, setting: Setting) -> float:
    """Peak memory of two steps in a fresh process, over what it held before them."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(_peak_of_two_steps, way, setting).result()


def _peak_of_two_steps(way: str, setting: Setting) -> float:
    limit_threads()
    step = make_step(way, setting)
    before = _memory_mib("VmRSS")
    step()
    step()
    return _memory_mib("VmHWM") - before


def _memory_mib(field: str) -> float:
    """Of this process, from Linux; unlike getrusage's, its peak does not include the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def limit_threads() -> None:
    """Two cores, as a small hospital's machine has."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)


def show(cell: Cell) -> None:
    """One line of the table."""
    setting = cell.setting
    print(
        f"{setting.network:10} {setting.size:4} {setting.batch:5}  {cell.way:13}"
        f" {cell.cpu_s * 1e3:9.0f} ms cpu {cell.wall_s * 1e3:9.0f} ms"
        f" {cell.ratio:7.2f} x {cell.peak_mib:7.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 x 64 only, few repetitions")
    parser.add_argument("--peers", action="store_true", help="also tensorflow-privacy's ways")
    parser.add_argument("--out", type=Path, default=Path("out/dp_sgd.json"))
    arguments = parser.parse_args()
    limit_threads()
    sizes, repetitions = ((64,), 5) if arguments.quick else ((64, 128), 15)
    settings = [
        Setting(network, size, batch)
        for network in ("wide-cnn", "smear-cnn")
        for size in sizes
        for batch in (64, 256)
    ]
    cells = measure(settings, ["plain", "fedpriv"], repetitions)
    if arguments.peers:
        peers = ["plain", "fedpriv", "DPModel", "DP optimizer", "vectorised"]
        cells += measure([Setting("wide-cnn", 64, 16)], peers, 3)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"processor": platform.processor(), "threads": THREADS, "tensorflow": tf.__version__}
    arguments.out.write_text(
        json.dumps({"machine": machine, "cells": [asdict(cell) for cell in cells]}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
