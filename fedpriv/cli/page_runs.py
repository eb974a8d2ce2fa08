"""From a coordinator's folder to what the page shows operators: the page itself knows no coordinator."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from fedpriv.errors import FedprivError, HomeError

if TYPE_CHECKING:
    from pathlib import Path

    from fedpriv.coordinator.run_folder import Line, RunFolder
    from fedpriv.page.runs import Round, Run, RunSource, Unreadable
    from fedpriv.plan import Spent

REPORT_FILE = "report.html"

_TIME = "%Y%m%d-%H%M%S"


def runs_in(folder: Path) -> RunSource:
    """What reads the runs in ``folder``, a coordinator's home or its runs/, anew each time it is called.

    HomeError if there is no such folder.
    """
    runs = folder / "runs" if (folder / "runs").is_dir() else folder
    if not runs.is_dir():
        raise HomeError(f"{folder}: no such folder", hint="name the coordinator's home")
    return lambda: tuple(
        _read(found) for found in sorted(runs.iterdir(), reverse=True) if (found / "study.toml").is_file()
    )


def _read(folder: Path) -> Run | Unreadable:
    from fedpriv.coordinator.run_folder import ROUNDS_FILE
    from fedpriv.page.runs import Unreadable

    record = folder / ROUNDS_FILE
    try:
        state = record.stat() if record.exists() else None
        return _read_state(folder, None if state is None else (state.st_mtime_ns, state.st_size))
    except FedprivError as error:
        return Unreadable(folder.name, error.message)
    except OSError as error:
        return Unreadable(folder.name, error.strerror or "cannot be read")


@lru_cache(maxsize=64)
def _read_state(folder: Path, _state: tuple[int, int] | None) -> Run:
    """A run, read again only once its record has changed: composing epsilon takes a while."""
    from fedpriv.coordinator.run_folder import open_run
    from fedpriv.model.folder import load_model
    from fedpriv.page.runs import Run

    run = open_run(folder)
    lines, study = run.lines(), run.study
    report = folder / REPORT_FILE
    return Run(
        name=folder.name,
        study=study.study.name,
        began=_began(folder.name),
        hospitals=study.names,
        planned=study.training.rounds,
        rounds=_rounds(lines),
        unit=study.privacy.unit,
        noise=study.privacy.noise,
        delta=study.privacy.delta,
        allowed=study.privacy.epsilon,
        course=_course(run),
        model_digest=load_model(run.model_folder).card.model_digest if run.completed() else None,
        report=report if report.is_file() else None,
    )


def _began(name: str) -> datetime | None:
    try:
        return datetime.strptime(name.rpartition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def _rounds(lines: list[Line]) -> tuple[Round, ...]:
    from fedpriv.coordinator.run_folder import ReceiptsAcknowledged, RoundEnded
    from fedpriv.page.runs import Round

    found: dict[int, Round] = {}
    for line in lines:
        match line:
            case RoundEnded():
                found[line.round] = Round(
                    line.round,
                    line.outcome,
                    line.reason,
                    line.cohort,
                    tuple(sorted(line.dropped.items())),
                    sum(line.seconds.values()),
                )
            case ReceiptsAcknowledged():
                pass
            case _:
                found[line.round] = Round(line.round, "open", "", (), (), 0.0)
    return tuple(found[number] for number in sorted(found))


def _course(run: RunFolder) -> tuple[Spent, ...]:
    from fedpriv.coordinator.rounds import charged_rounds
    from fedpriv.plan import course

    study, charged = run.study, charged_rounds(run)
    if study.privacy.noise == "none" or not charged:
        return ()
    return course([study.cost_of(1)] * charged, study.privacy.delta)
