"""What Prometheus reads of a coordinator: from its records on disk, so that a restart loses nothing.

Everything here the coordinator may know anyway: who is online, what became of rounds, how long stages took,
what studies promise. Of hospitals' data it has nothing to tell.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from cryptography import x509
from prometheus_client.core import SummaryMetricFamily

from fedpriv import __version__
from fedpriv.coordinator.exchange import LossReason
from fedpriv.coordinator.rounds import claim_of
from fedpriv.coordinator.run_folder import ROUNDS_FILE, ReceiptsAcknowledged, RoundEnded
from fedpriv.coordinator.traffic import traffic_of
from fedpriv.identity import tls
from fedpriv.metrics import counter, gauge
from fedpriv.secagg.refusal import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client import Metric

    from fedpriv.coordinator.home import CoordinatorHome
    from fedpriv.coordinator.run_folder import RunFolder

_REASONS = {reason.value for reason in LossReason} | {
    code.name.lower().replace("_", " ") for code in RefusalCode
}
_OTHER_REASON = "another"


class CoordinatorMetrics:
    """Gives every metric of ``home``; ``online`` says which hospitals of the roster are connected."""

    def __init__(
        self,
        home: CoordinatorHome,
        runs: Callable[[], list[RunFolder]],
        online: Callable[[], dict[str, bool]],
    ) -> None:
        self._home = home
        self._runs = runs
        self._online = online
        self._kept: dict[Path, tuple[tuple[int, int], _Run]] = {}

    def look(self) -> Iterator[Metric]:
        """Every metric, now."""
        yield gauge("fedpriv_info", "The installed version.", [({"version": __version__}, 1)])
        yield gauge(
            "fedpriv_hospital_online",
            "1 if the hospital is connected.",
            [({"hospital": name}, int(online)) for name, online in self._online().items()],
        )
        yield from self._of_machine()
        yield from self._of_rounds([self._read(run) for run in self._runs()])

    def _of_machine(self) -> Iterator[Metric]:
        yield gauge(
            "fedpriv_disk_free_bytes",
            "Room on the disk of the coordinator's home.",
            [({}, shutil.disk_usage(self._home.folder).free)],
        )
        files = {"authority": tls.CA_CERTIFICATE_FILE, "server": tls.SERVER_CERTIFICATE_FILE}
        yield gauge(
            "fedpriv_certificate_expires_timestamp_seconds",
            "When a TLS certificate ends, in Unix time.",
            [({"certificate": name}, _expiry(self._home.tls_folder / file)) for name, file in files.items()],
        )
        bytes_by_stage = traffic_of(self._home.traffic_path)
        yield counter(
            "fedpriv_exchanged_bytes",
            "Bytes of the protocol's messages, without Flower's envelope, by stage.",
            [
                ({"stage": stage, "direction": direction}, count)
                for stage, counts in bytes_by_stage.items()
                for direction, count in counts.items()
            ],
        )

    def _of_rounds(self, runs: list[_Run]) -> Iterator[Metric]:
        rounds: Counter[tuple[str, str]] = Counter()
        dropped: Counter[tuple[str, str, str, str]] = Counter()
        times: Counter[tuple[str, str]] = Counter()
        seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        for run in runs:
            rounds.update({(run.study, "complete"): run.complete, (run.study, "failed"): run.failed})
            dropped.update(run.dropped)
            for stage, (count, total) in run.stages.items():
                times[run.study, stage] += count
                seconds[run.study, stage] += total
        yield counter(
            "fedpriv_rounds",
            "Rounds that ended, by study and outcome.",
            [({"study": study, "outcome": outcome}, value) for (study, outcome), value in rounds.items()],
        )
        yield counter(
            "fedpriv_hospital_dropped",
            "How often a hospital was left out of a round, by stage and reason.",
            [
                ({"study": study, "hospital": hospital, "stage": stage, "reason": reason}, value)
                for (study, hospital, stage, reason), value in dropped.items()
            ],
        )
        stages = SummaryMetricFamily(
            "fedpriv_stage_seconds", "Wall time of each stage of the rounds.", labels=["study", "stage"]
        )
        for (study, stage), count in times.items():
            stages.add_metric([study, stage], count_value=count, sum_value=seconds[study, stage])
        yield stages
        last = runs[-1:]
        for name, help_text, values in (
            ("cohort", "Hospitals in the sum of the last complete round.", [run.cohort for run in last]),
            ("rounds_planned", "Rounds that the study has.", [run.planned for run in last]),
            ("epsilon", "Epsilon per unit, composed, at the study's delta.", [run.epsilon for run in last]),
            ("epsilon_left", "Epsilon that the study has left.", [run.epsilon_left for run in last]),
        ):
            labels = [{"study": run.study, "run": run.name} for run in last]
            yield gauge(
                f"fedpriv_last_run_{name}", f"Of the last run: {help_text}", zip(labels, values, strict=True)
            )

    def _read(self, run: RunFolder) -> _Run:
        """What the records of ``run`` come to; read anew only if they have changed."""
        path = run.folder / ROUNDS_FILE
        found = path.stat() if path.exists() else None
        state = (found.st_size, found.st_mtime_ns) if found else (0, 0)
        kept = self._kept.get(run.folder)
        if kept is None or kept[0] != state:
            kept = self._kept[run.folder] = (state, _Run(run))
        return kept[1]


class _Run:
    """What one run's records come to."""

    def __init__(self, run: RunFolder) -> None:
        lines = run.lines()
        ended = [line for line in lines if isinstance(line, RoundEnded)]
        complete = [line for line in ended if line.outcome == "complete"]
        self.name = run.folder.name
        self.study = run.study.study.name
        self.planned = run.study.training.rounds
        self.complete = len(complete)
        self.failed = len(ended) - len(complete)
        self.cohort = len(complete[-1].cohort) if complete else 0
        self.epsilon = claim_of(run).epsilon
        self.epsilon_left = (
            None if self.epsilon is None else max(0.0, run.study.privacy.epsilon - self.epsilon)
        )
        self.dropped: Counter[tuple[str, str, str, str]] = Counter()
        self.stages: dict[str, tuple[int, float]] = {}
        for line in lines:
            if isinstance(line, RoundEnded | ReceiptsAcknowledged):
                for hospital, words in line.dropped.items():
                    stage, _, reason = words.partition(": ")
                    known = reason if reason in _REASONS else _OTHER_REASON
                    self.dropped[self.study, hospital, stage, known] += 1
                for stage, seconds in line.seconds.items():
                    times, total = self.stages.get(stage, (0, 0.0))
                    self.stages[stage] = (times + 1, total + seconds)


def _expiry(path: Path) -> float:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
