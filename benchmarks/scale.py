"""The whole protocol with 10, 100 and 1,000 hospitals in one process: time, bytes and memory.

    python benchmarks/scale.py [--hospitals 10 100 1000] [--parameters 100000] [--out measured/scale.json]
    python benchmarks/scale.py --memory --hospitals 100 --parameters 10000000
    python benchmarks/scale.py --draw measured/scale.json docs/masked-sum-scale.svg

Real machines on both sides, no network, no TensorFlow. Five of a hundred hospitals are lost before they
upload. Hospital times are the mean of one hospital; a hospital runs on its own machine in reality, the
coordinator's times are for all replies of the stage together. Times but the last are CPU seconds, so that
other processes do not blur them. ``--memory`` measures the coordinator's
peak with tracemalloc, hospital by hospital, in vectors of the ring.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import tracemalloc
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpriv.secagg.coordinator import CoordinatorRound
from fedpriv.secagg.graph import draw_graph
from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import Envelope, Stage
from fedpriv.secagg.terms import RoundTerms

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")
LOST_BEFORE_UPLOAD = 0.05
BITS = 16


@dataclass
class Growth:
    """One size of federation."""

    hospitals: int
    parameters: int
    neighbours: int
    neighbourhood_threshold: int
    hospital_s: dict[str, float] = field(default_factory=dict)
    coordinator_s: dict[str, float] = field(default_factory=dict)
    hospital_sent_bytes: float = 0.0
    hospital_received_bytes: float = 0.0
    coordinator_peak_vectors: float | None = None
    process_peak_mib: float = 0.0
    wall_s: float = 0.0
    exact: bool = False


class Meter:
    """Adds up what each side spends; with ``memory``, the coordinator's peak above its start."""

    def __init__(self, growth: Growth, *, memory: bool) -> None:
        self.growth, self.memory = growth, memory
        self.peak_bytes = 0

    def hospital(self, stage: str, work: Callable[[], _Result], share: int) -> _Result:
        """Time ``work`` of one hospital of ``share``."""
        start = time.process_time()
        result = work()
        spent = (time.process_time() - start) / share
        self.growth.hospital_s[stage] = self.growth.hospital_s.get(stage, 0.0) + spent
        return result

    def coordinator(self, stage: str, work: Callable[[], _Result]) -> _Result:
        """Time ``work`` of the coordinator, and watch its memory."""
        if self.memory:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
        start = time.process_time()
        result = work()
        spent = time.process_time() - start
        self.growth.coordinator_s[stage] = self.growth.coordinator_s.get(stage, 0.0) + spent
        if self.memory:
            self.peak_bytes = max(self.peak_bytes, tracemalloc.get_traced_memory()[1] - before)
        return result


def terms_for(count: int, parameters: int) -> RoundTerms:
    """Five of a hundred may collude, ten of a hundred may be missing."""
    colluders, dropouts = count // 20, count // 10
    return RoundTerms(
        run=bytes(16),
        round=1,
        roster_digest=bytes(32),
        study_digest=bytes(32),
        hospitals=tuple(f"h{i:04d}" for i in range(count)),
        threshold=(count + colluders) // 2 + 1,
        colluders=colluders,
        dropouts=dropouts,
        smallest_cohort=2,
        parameters=parameters,
        bits=BITS,
    )


def values_of(index: int, parameters: int) -> np.ndarray:
    """An update that can be made again when the sum is checked."""
    return np.random.default_rng(index).integers(0, 2**BITS, parameters)


def simulate(count: int, parameters: int, *, memory: bool) -> Growth:
    """One round; the sum is compared with the plain one."""
    terms = terms_for(count, parameters)
    graph = draw_graph(terms, terms.hospitals, bytes(32))
    growth = Growth(count, parameters, len(graph.neighbours("h0000")), graph.threshold)
    keys = {name: Ed25519PrivateKey.generate() for name in (*terms.hospitals, "coordinator")}
    publics = {name: key.public_key().public_bytes_raw() for name, key in keys.items()}
    roster = {name: publics[name] for name in terms.hospitals}
    hospitals = {
        name: HospitalRound(
            name=name,
            signing_key=keys[name],
            roster=roster,
            coordinator_key=publics["coordinator"],
            terms=terms,
            journal_head=bytes(32),
            last_round=0,
        )
        for name in terms.hospitals
    }
    lost = set(terms.hospitals[: int(LOST_BEFORE_UPLOAD * count)])
    model = np.zeros(parameters, dtype="<f4").tobytes()
    if memory:
        tracemalloc.start()
    meter = Meter(growth, memory=memory)
    started = time.perf_counter()
    coordinator = CoordinatorRound(terms=terms, roster=roster, signing_key=keys["coordinator"])
    requests = meter.coordinator("ADVERTISE", lambda: coordinator.open(model))
    for stage in Stage:
        exchange(stage, requests, hospitals, coordinator, lost, meter)
        if stage < Stage.UNMASK:
            requests = meter.coordinator(stage.name, coordinator.advance)
        elif stage is Stage.UNMASK:
            total = meter.coordinator("SUM", coordinator.total)
            requests = meter.coordinator("CLOSE", lambda: coordinator.close(bytes(32), bytes(32)))
    growth.wall_s = time.perf_counter() - started
    growth.process_peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if memory:
        tracemalloc.stop()
        vector = 8 * terms.words  # held all along: the accumulator; arriving: one upload
        growth.coordinator_peak_vectors = round(2 + meter.peak_bytes / vector, 2)
    present = (i for i, name in enumerate(terms.hospitals) if name not in lost)
    growth.exact = bool((total == sum(values_of(i, parameters) for i in present)).all())
    return growth


def exchange(
    stage: Stage,
    requests: dict[str, Envelope],
    hospitals: dict[str, HospitalRound],
    coordinator: CoordinatorRound,
    lost: set[str],
    meter: Meter,
) -> None:
    """One stage: every hospital answers, the coordinator takes each reply as it comes."""
    growth = meter.growth
    for index, name in enumerate(hospitals):
        if name not in requests or (stage >= Stage.UPLOAD and name in lost):
            continue
        request, machine = requests[name], hospitals[name]
        if stage is Stage.UPLOAD:
            values = values_of(index, growth.parameters)
            answer = meter.hospital(
                stage.name, lambda m=machine, r=request, v=values: m.upload(r, lambda: v), len(requests)
            )
        else:
            method = getattr(machine, stage.name.lower())
            arguments = (request, bytes(32)) if stage is Stage.CLOSE else (request,)
            answer = meter.hospital(stage.name, lambda m=method, a=arguments: m(*a), len(requests))
        growth.hospital_received_bytes += (len(request.body) + len(request.vector)) / growth.hospitals
        growth.hospital_sent_bytes += (len(answer.body) + len(answer.vector)) / growth.hospitals
        meter.coordinator(stage.name, lambda n=name, a=answer: coordinator.receive(n, a))
        if stage is Stage.CLOSE:
            machine.abandon()


def report(growth: Growth) -> str:
    """One line a size."""
    peak = "-" if growth.coordinator_peak_vectors is None else f"{growth.coordinator_peak_vectors:.2f}"
    return (
        f"{growth.hospitals:>9,} {growth.neighbours:>10} {growth.neighbourhood_threshold:>5} "
        f"{sum(growth.hospital_s.values()):>11.3f} {sum(growth.coordinator_s.values()):>14.2f} "
        f"{growth.hospital_sent_bytes / 1024:>9.0f} {growth.hospital_received_bytes / 1024:>13.0f} "
        f"{peak:>13} {growth.wall_s:>8.1f} {'yes' if growth.exact else 'NO':>6}"
    )


def draw(source: Path, target: Path) -> None:
    """Three small growth curves."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "fedpriv", "svg.fonttype": "none"}
    from matplotlib import pyplot as plt

    sizes = json.loads(source.read_text())
    n = [size["hospitals"] for size in sizes]
    memory = [size["process_peak_mib"] for size in sizes]
    panels = {
        "seconds": {
            "one hospital": [sum(size["hospital_s"].values()) for size in sizes],
            "the coordinator": [sum(size["coordinator_s"].values()) for size in sizes],
        },
        "MiB of one hospital, model included": {
            "received": [size["hospital_received_bytes"] / 2**20 for size in sizes],
            "sent": [size["hospital_sent_bytes"] / 2**20 for size in sizes],
        },
        "MiB of the whole simulation": {"all hospitals in one process": memory},
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for label, values in lines.items():
            axis.plot(n, values, marker="o", label=label)
        axis.set(xscale="log", yscale="log", xlabel="hospitals", title=title)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(target, metadata={"Date": None})
    print(f"written: {target}")


def main() -> None:
    """Simulate each size, print and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hospitals", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--parameters", type=int, default=100_000)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("measured/scale.json"))
    parser.add_argument("--draw", type=Path, nargs=2, metavar=("JSON", "SVG"))
    options = parser.parse_args()
    if options.draw:
        draw(*options.draw)
        return
    print(f"{options.parameters:,} parameters")
    print(
        "hospitals neighbours   t_k  hospital s  coordinator s  sent KiB  received KiB  peak vectors", end=""
    )
    print("   wall s  exact")
    sizes = []
    for count in options.hospitals:
        sizes.append(simulate(count, options.parameters, memory=options.memory))
        print(report(sizes[-1]), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([asdict(size) for size in sizes], indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
