"""Training steps that take turns, each way of training in a process of its own.

A disturbance of the machine meets all ways alike, and a ratio is taken within a turn, twice: seconds of the
clock over those of its base, and CPU seconds of all threads, which a busy machine disturbs less. Peak memory
is what the process grew by from the moment before its first step, with model and records in place.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import multiprocessing
import resource
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

THREADS = 2
WARM_UP = 3
MOST_TURNS, FEWEST_TURNS = 200, 3
MEMORY_LIMIT_GIB = 16


@dataclass(frozen=True)
class Setting:
    """What is trained: a network on square images, in batches."""

    network: str
    size: int
    batch: int


@dataclass(frozen=True)
class Way:
    """A way to take a step: ``make_step(name, setting)`` of ``module`` gives it; ``base`` is compared with.

    A ``slow`` way has one untimed step and the fewest turns.
    """

    name: str
    module: str
    base: str
    first_step_limit_s: float = 120.0
    slow: bool = False


@dataclass(frozen=True)
class Cell:
    """One way in one setting: median seconds of a step, its ratios to the base, growth of its process."""

    setting: Setting
    way: str
    base: str
    cpu_s: float
    wall_s: float
    cpu_ratio: float
    wall_ratio: float
    peak_mib: float
    turns: int


@dataclass(frozen=True)
class Skipped:
    """A way that was not measured in one setting, and why."""

    setting: Setting
    way: str
    reason: str


class Worker:
    """One way of one setting in a process of its own; RuntimeError, with the reason, if it cannot run."""

    def __init__(self, way: Way, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, there = context.Pipe()
        self._process = context.Process(target=_work, args=(way, setting, there), daemon=True)
        self._process.start()
        there.close()
        self._limit_s = way.first_step_limit_s
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
        if not self._link.poll(self._limit_s):
            raise RuntimeError(f"no answer within {self._limit_s:.0f} s")
        try:
            return self._link.recv()
        except EOFError:
            raise RuntimeError(f"ended by the limit of {MEMORY_LIMIT_GIB} GiB") from None


def _work(way: Way, setting: Setting, link: Connection) -> None:
    """Answer "step" with (CPU seconds, wall seconds) and "peak" with MiB, until the link closes."""
    limit = MEMORY_LIMIT_GIB << 30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        step = importlib.import_module(way.module).make_step(way.name, setting)
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what making the step left free would hide what steps take
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = _memory_mib("VmRSS")
        for _ in range(1 if way.slow else WARM_UP):
            step()
        link.send("ready")
        while link.recv() == "step":
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            link.send((time.process_time() - cpu, time.perf_counter() - wall))
        link.send(_memory_mib("VmHWM") - before)
    except Exception as failure:  # noqa: BLE001 - whatever a peer raises is the reason why it is skipped
        link.send(f"{type(failure).__name__}: {str(failure).strip().splitlines()[0][:100]}")


def _memory_mib(field: str) -> float:
    """Of this process, from Linux."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def take_turns(setting: Setting, ways: Sequence[Way], budget_s: float) -> tuple[list[Cell], list[Skipped]]:
    """All ways of one setting take turns for about ``budget_s`` seconds."""
    workers: dict[Way, Worker] = {}
    skipped = []
    for way in ways:
        try:
            workers[way] = Worker(way, setting)
        except RuntimeError as failure:
            skipped.append(Skipped(setting, way.name, str(failure)))
    times: dict[Way, list[tuple[float, float]]] = {way: [] for way in workers}
    end = time.monotonic() + budget_s
    for turn in range(MOST_TURNS):
        if turn >= FEWEST_TURNS and time.monotonic() > end:
            break
        for way, worker in workers.items():
            if turn < FEWEST_TURNS or not way.slow:
                times[way].append(worker.step())
    pairs_of = {way.name: pairs for way, pairs in times.items()}
    cells = []
    for way, pairs in times.items():
        turns = list(zip(pairs, pairs_of[way.base], strict=False))
        cell = Cell(
            setting,
            way.name,
            way.base,
            cpu_s=statistics.median(cpu for cpu, _ in pairs),
            wall_s=statistics.median(wall for _, wall in pairs),
            cpu_ratio=statistics.median(cpu / base for (cpu, _), (base, _) in turns),
            wall_ratio=statistics.median(wall / base for (_, wall), (_, base) in turns),
            peak_mib=workers[way].finish(),
            turns=len(pairs),
        )
        cells.append(cell)
    return cells, skipped
