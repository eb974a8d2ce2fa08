"""The final word of a run: what came of it, whose images are in it, and who is missing from which round.

The first line is the one that is read. A run that lost its largest hospital says so there, and nothing
sounds like a success that was none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.coordinator.rounds import FAILURES_IN_A_ROW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fedpriv.coordinator.run_folder import RoundEnded, RunFolder
    from fedpriv.study import Study


def contributions(run: RunFolder) -> dict[str, tuple[int, ...]]:
    """The complete rounds of ``run`` so far whose sum each hospital is in."""
    complete = run.completed()
    return {name: tuple(line.round for line in complete if name in line.cohort) for name in run.study.names}


def lost_largest(run: RunFolder) -> dict[str, int]:
    """The largest hospitals that are missing from a complete round, and from how many.

    Largest by declared units; several where they declare the same.
    """
    rounds = len(run.completed())
    missing = {name: rounds - len(found) for name, found in contributions(run).items()}
    return {name: missing[name] for name in largest_hospitals(run.study) if missing[name]}


def largest_hospitals(study: Study) -> list[str]:
    """Those that declare most units; none if all declare the same."""
    most = max(study.hospitals.values())
    found = [name for name, units in study.hospitals.items() if units == most]
    return found if len(found) < len(study.hospitals) else []


def all_complete(ended: Sequence[RoundEnded]) -> bool:
    """Whether nothing failed: what exit code 0 says of the rounds of one command."""
    return all(line.outcome == "complete" for line in ended)


def first_line(run: RunFolder, ended: Sequence[RoundEnded]) -> str:
    """What came of ``ended``, the rounds of one command, and what the whole run lost."""
    complete = sum(line.outcome == "complete" for line in ended)
    parts = [f"{complete} of {len(ended)} rounds complete"]
    if complete < len(ended):
        parts.append(f"{len(ended) - complete} FAILED")
    if _gave_up(ended):
        parts.append(f"no more were tried after {FAILURES_IN_A_ROW} failures in a row")
    if not run.completed():
        parts.append("there is no model")
    said = ", ".join(parts)
    study, rounds = run.study, len(run.completed())
    lost = [
        f"{name} ({study.hospitals[name]} of {study.units} {study.privacy.unit}s) is missing from "
        f"{count} of {rounds} complete rounds"
        for name, count in lost_largest(run).items()
    ]
    return f"LOST THE LARGEST HOSPITAL: {'; '.join(lost)}; {said}" if lost else said


def contribution_lines(run: RunFolder) -> list[str]:
    """One line a hospital: the rounds that its images are in, over the whole run."""
    rounds = [line.round for line in run.completed()]
    if not rounds:
        return ["no hospital contributed to anything: no round was complete"]
    return [
        f"{name} is in {len(found)} of {len(rounds)} complete rounds"
        + (f": {spans(found, rounds)}" if 0 < len(found) < len(rounds) else "")
        for name, found in contributions(run).items()
    ]


def spans(numbers: Iterable[int], among: Sequence[int]) -> str:
    """``numbers`` as spans of neighbours in the ascending ``among``: "1-3, 7"."""
    found: list[list[int]] = []
    wanted, last = set(numbers), False
    for number in among:
        if number in wanted and last:
            found[-1].append(number)
        elif number in wanted:
            found.append([number])
        last = number in wanted
    return ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in found)


def _gave_up(ended: Sequence[RoundEnded]) -> bool:
    last = ended[-FAILURES_IN_A_ROW:]
    return len(last) == FAILURES_IN_A_ROW and all(line.outcome == "failed" for line in last)
