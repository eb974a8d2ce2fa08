"""What happens in rounds, as log records (see `fedpriv.logs`): an observer beside the live view."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fedpriv import logs
from fedpriv.coordinator import events

if TYPE_CHECKING:
    from fedpriv.coordinator.run_folder import RunFolder

_log = logging.getLogger(__name__)


class EventLog:
    """Logs the events of ``run``; a wait is logged when somebody else is waited for."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run.run.hex()
        self._absent: tuple[str, ...] = ()

    def observe(self, event: events.Event) -> None:
        """Log ``event`` if it is news."""
        run = self._run
        match event:
            case events.Waiting(absent=absent) if absent != self._absent:
                self._absent = absent
                logs.event(_log, "waiting", f"waiting for {' '.join(absent)}", run=run)
            case events.RoundBegan(round=number, hospitals=names):
                words = f"round {number} began with {' '.join(names) or 'nobody'}"
                logs.event(_log, "round_began", words, run=run, round=number)
            case events.StageOver(round=number, stage=stage, seconds=seconds):
                logs.event(
                    _log,
                    "stage_over",
                    f"round {number}: {stage.name.lower()} took {seconds:.3f} s",
                    run=run,
                    round=number,
                    stage=stage.name,
                    seconds=seconds,
                    bytes_sent=event.bytes_sent,
                    bytes_received=event.bytes_received,
                )
            case events.HospitalDropped(round=number, stage=stage, name=name, reason=reason):
                logs.event(
                    _log,
                    "hospital_dropped",
                    f"round {number}: {name} is out at {stage.name.lower()}: {reason}",
                    level=logging.WARNING,
                    run=run,
                    round=number,
                    stage=stage.name,
                    hospital=name,
                )
            case events.RoundOver(ended=ended, epsilon=epsilon) if ended.outcome == "complete":
                spent = "" if epsilon is None else f", epsilon so far {epsilon:.3f}"
                words = f"round {ended.round} is complete: cohort {' '.join(ended.cohort)}{spent}"
                logs.event(_log, "round_complete", words, run=run, round=ended.round)
            case events.RoundOver(ended=ended):
                words = f"round {ended.round} failed: {ended.reason}"
                logs.event(_log, "round_failed", words, level=logging.ERROR, run=run, round=ended.round)
            case _:
                pass
