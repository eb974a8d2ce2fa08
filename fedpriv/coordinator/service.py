"""What an operator does: look who is there and run rounds; `fedpriv.coordinator.door` is open meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.coordinator.bundle import is_behind, write_bundle
from fedpriv.coordinator.control import Members
from fedpriv.coordinator.event_log import EventLog
from fedpriv.coordinator.flower import FlowerLink
from fedpriv.coordinator.rounds import Coordinator, charged_rounds, journal_heads, publish
from fedpriv.coordinator.run_folder import RoundEnded, RunFolder, new_run, open_run
from fedpriv.coordinator.superlink import Addresses, SuperLink, TlsFiles
from fedpriv.coordinator.traffic import Traffic
from fedpriv.dp.accounting import warm_up
from fedpriv.errors import HomeError, InputError, Refused, Unreachable
from fedpriv.identity import tls
from fedpriv.study import Study, load_study

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from fedpriv.coordinator.events import Event, Observer
    from fedpriv.coordinator.home import CoordinatorHome


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How far a run is, and how it ended the last time it was asked for a round."""

    name: str
    study: str
    completed: int
    planned: int
    failed: int


@dataclass(frozen=True, slots=True)
class Status:
    """What an operator wants to know at a glance; ``online`` is None while the door is closed."""

    address: str
    online: dict[str, bool] | None
    runs: list[RunSummary]


def superlink(home: CoordinatorHome) -> SuperLink:
    """A SuperLink for ``home``, not yet started."""
    listen = home.config.listen
    return SuperLink(
        home.flower_folder,
        Addresses(fleet=listen.fleet, serverappio=listen.serverappio, control=listen.control),
        tls_files(home),
    )


def tls_files(home: CoordinatorHome) -> TlsFiles:
    """The certificates of ``home``, not yet checked."""
    return TlsFiles(
        certificate=home.tls_folder / tls.SERVER_CERTIFICATE_FILE,
        key=home.tls_folder / tls.SERVER_KEY_FILE,
        authority=home.tls_folder / tls.CA_CERTIFICATE_FILE,
    )


def members(home: CoordinatorHome) -> Members:
    """The hospitals of the roster as the SuperLink knows them."""
    roster = home.roster()
    return Members(
        control_address=home.config.listen.control,
        root_certificate=roster.coordinator.ca_certificate.encode(),
        hospitals={member.name: member.link_key for member in roster.hospitals},
        retired=roster.retired_link_keys,
    )


def link(home: CoordinatorHome) -> FlowerLink:
    """A link to the hospitals of the roster, through the open door."""
    roster, listen = home.roster(), home.config.listen
    return FlowerLink(
        control_address=listen.control,
        serverappio_address=listen.serverappio,
        root_certificate=roster.coordinator.ca_certificate.encode(),
        hospitals={member.name: member.link_key for member in roster.hospitals},
        retired=roster.retired_link_keys,
    )


def status(home: CoordinatorHome) -> Status:
    """Whether the door is open, who is online, and how far each run is."""
    known = members(home)
    try:
        online = known.online()
    except Unreachable:
        presence = None
    else:
        presence = {name: name in online for name in known.names}
    return Status(home.config.listen.fleet, presence, [_summary(home, name) for name in run_names(home)])


def run_names(home: CoordinatorHome) -> list[str]:
    """The runs of ``home``, oldest first."""
    return sorted(study.parent.name for study in home.runs_folder.glob("*/study.toml"))


def choose_run(home: CoordinatorHome, *, study_path: Path | None, name: str | None) -> RunFolder:
    """A new run of ``study_path``; else the run called ``name``; else the last run.

    Unreachable if a new run is asked for while hospitals cannot connect.
    """
    if study_path is not None and name is not None:
        raise InputError("--study begins a run and --resume goes on with one", hint="give one of the two")
    if study_path is not None:
        study = load_study(study_path)
        roster = home.roster()
        for hospital in study.names:
            roster.member(hospital)
        members(home).online()  # Unreachable before a run is made that could not begin
        return new_run(home.runs_folder, study, first_vector(study))
    if name is not None:
        return open_run(home.runs_folder / name)
    names = run_names(home)
    if not names:
        raise HomeError(f"{home.runs_folder}: no run yet", hint="`fedpriv round --study FILE` begins one")
    return open_run(home.runs_folder / names[-1])


def run_rounds(
    home: CoordinatorHome, run: RunFolder, *, count: int | None, observe: Observer
) -> list[RoundEnded]:
    """Attempt ``count`` rounds of ``run`` (None: all that are left); the lines that were recorded.

    First what a command that was killed left undone is done: the model folder and the bundle are brought to
    what the record says. At the end the bundle is written anew, without journals: those hospitals send when
    they are asked.

    Unreachable if the door is closed, Refused if the study has no round left.
    """
    with home.one_command():
        roster = home.roster()
        for hospital in run.study.names:
            roster.member(hospital)  # it may have left since the run began
        if run.lines():
            publish(run)
            if is_behind(run, roster):
                write_bundle(run, roster, home.identity())
        planned = run.study.training.rounds
        left = planned - charged_rounds(run)
        wanted = max(left, 1) if count is None else count
        if wanted > left:
            raise Refused(
                f"the study has {left} of its {planned} rounds left, not {wanted}",
                hint="a round that failed after hospitals were asked to train counts; it is not refunded",
            )
        with link(home) as connection:
            coordinator = Coordinator(
                run=run,
                link=connection,
                identity=home.identity(),
                roster=roster,
                deadlines=home.config.deadlines,
                observe=_recorded(home, run, observe),
                known_heads=_known_heads(home),
            )
            warm_up()
            ended = coordinator.run_rounds(wanted)
        write_bundle(run, roster, home.identity())
        return ended


def _recorded(home: CoordinatorHome, run: RunFolder, observe: Observer) -> Observer:
    """``observe``, and what keeps events of ``run`` in the log and bytes on disk."""
    observers = (observe, EventLog(run).observe, Traffic(home.traffic_path).observe)

    def everybody(event: Event) -> None:
        for each in observers:
            each(event)

    return everybody


def first_vector(study: Study) -> NDArray[np.float32]:
    """The weights that every run of ``study`` starts from."""
    from fedpriv.model.network import build_model
    from fedpriv.model.weights import to_vector

    return to_vector(build_model(study))


def _known_heads(home: CoordinatorHome) -> dict[str, bytes]:
    """The last journal heads that hospitals signed here, in whichever run."""
    lines = [line for name in run_names(home) for line in open_run(home.runs_folder / name).lines()]
    return journal_heads(lines)


def _summary(home: CoordinatorHome, name: str) -> RunSummary:
    run = open_run(home.runs_folder / name)
    ended = [line for line in run.lines() if isinstance(line, RoundEnded)]
    completed = sum(line.outcome == "complete" for line in ended)
    return RunSummary(
        name=name,
        study=run.study.study.name,
        completed=completed,
        planned=run.study.training.rounds,
        failed=len(ended) - completed,
    )
