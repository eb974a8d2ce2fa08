"""``fedpriv node doctor``: everything that would keep this hospital from a round, each with its fix.

It writes nothing and asks nobody but the coordinator, and of it only a TLS handshake. What one check finds
broken is not asked about again: a home without a configuration gives one line.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import shutil
from typing import TYPE_CHECKING

from fedpriv import __version__
from fedpriv.errors import FedprivError
from fedpriv.identity.fingerprint import key_fingerprint
from fedpriv.node import budget
from fedpriv.node.diagnosis import Diagnosis, Health
from fedpriv.node.doctor_images import image_diagnoses
from fedpriv.node.doctor_link import authority_diagnosis, coordinator_diagnosis
from fedpriv.node.home import open_home
from fedpriv.node.policy import check_study

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fedpriv.node.chain import Row
    from fedpriv.node.home import NodeHome
    from fedpriv.study import Study

_PACKAGES = ("tensorflow", "tf-keras", "tensorflow-privacy", "dp-accounting", "flwr", "cryptography", "numpy")
_JOURNAL_FIX = "keep the folder as it is, tell the operator, and go on from the newest backup that verifies"
_POLICY_FIX = "ask for a study that fits [policy] of node.toml, or change the policy if you may"
_LITTLE_BYTES, _TOO_LITTLE_BYTES = 1_000_000_000, 100_000_000


def examine(folder: Path) -> Iterator[Diagnosis]:
    """Every diagnosis of the node in ``folder``, as soon as it is known."""
    yield _versions()
    try:
        home = open_home(folder)
    except FedprivError as error:
        yield _failed("node.toml", error)
        return
    yield Diagnosis("node.toml", Health.OK, f"{home.config.name}, calls {home.config.coordinator}")
    yield _disk(folder)
    try:
        identity = home.identity()
    except FedprivError as error:
        yield _failed("keys", error)
        return
    yield _keys(home, identity.name, identity.signing_public_key)
    yield from _federation(home)
    yield from _past_and_studies(home)


def _versions() -> Diagnosis:
    found, missing = [f"fedpriv {__version__}"], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Diagnosis(
            "versions", Health.FAIL, f"not installed: {', '.join(missing)}", "install fedpriv again"
        )
    return Diagnosis("versions", Health.OK, ", ".join(found))


def _disk(folder: Path) -> Diagnosis:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free"
    if free < _LITTLE_BYTES:
        health = Health.FAIL if free < _TOO_LITTLE_BYTES else Health.WARN
        return Diagnosis("disk", health, found, "make room: a journal that cannot be written stops the node")
    return Diagnosis("disk", Health.OK, found)


def _keys(home: NodeHome, name: str, signing_key: bytes) -> Diagnosis:
    if name != home.config.name:
        return Diagnosis(
            "keys",
            Health.FAIL,
            f"they are {name}'s, and node.toml says {home.config.name}",
            "put the identity folder of this hospital back, or correct the name",
        )
    return Diagnosis("keys", Health.OK, f"private, fingerprint {key_fingerprint(signing_key)}")


def _federation(home: NodeHome) -> Iterator[Diagnosis]:
    try:
        roster = home.roster()
    except FedprivError as error:
        yield _failed("roster", error)
        return
    members = f"{roster.federation}, {len(roster.hospitals)} hospitals"
    yield Diagnosis("roster", Health.OK, f"{members}, fingerprint {roster.fingerprint}")
    now = dt.datetime.now(dt.UTC)
    yield authority_diagnosis(roster, now)
    yield coordinator_diagnosis(home.config.coordinator, roster, now)


def _past_and_studies(home: NodeHome) -> Iterator[Diagnosis]:
    """The journal, and what follows from it; without one that verifies nothing can be said of the rest."""
    try:
        rows = home.rows()
    except FedprivError as error:
        yield Diagnosis("journal", Health.FAIL, error.message, error.hint or _JOURNAL_FIX)
        return
    found = f"{len(rows)} rows, all verify; that no later one was lost, `fedpriv audit verify` can tell"
    yield Diagnosis("journal", Health.OK, found)
    yield _clock(rows)
    try:
        studies = home.approved_studies(rows)
    except FedprivError as error:
        yield _failed("studies", error)
        return
    if not studies:
        yield Diagnosis(
            "studies",
            Health.WARN,
            "none is approved, so the images were not looked at",
            "read the operator's study, then `fedpriv node approve STUDY`",
        )
        return
    yield _budget(home, rows)
    for study in studies:
        yield _study(home, study, rows)
    yield from image_diagnoses(home, studies[-1], rows)


def _clock(rows: Sequence[Row]) -> Diagnosis:
    """Other clocks are not known here; that this one went back is."""
    now = dt.datetime.now(dt.UTC)
    last = dt.datetime.fromtimestamp(max((row.unix_time_s for row in rows), default=0), dt.UTC)
    if last > now:
        return Diagnosis(
            "clock",
            Health.FAIL,
            f"it is {now:%Y-%m-%d %H:%M} UTC here, and the journal has a row of {last:%Y-%m-%d %H:%M}",
            "set the clock; Flower refuses a hospital whose clock is minutes off",
        )
    return Diagnosis("clock", Health.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC, after every row of the journal")


def _budget(home: NodeHome, rows: Sequence[Row]) -> Diagnosis:
    policy = home.config.policy
    state = budget.budget_of(rows, home.config.dataset.name, policy)
    found = (
        f"{state.dataset}: epsilon {state.epsilon:.4g} of {state.largest_epsilon:g} spent at delta "
        f"{state.delta:g}, {state.rounds} rounds"
    )
    return Diagnosis("budget", Health.OK, found)


def _study(home: NodeHome, study: Study, rows: Sequence[Row]) -> Diagnosis:
    """Whether an approved study can still run here, to its end."""
    policy, dataset = home.config.policy, home.config.dataset.name
    subject = f"study {study.study.name}"
    charged = sum(charge.study_digest == study.digest for charge in budget.charges_of(rows, dataset))
    left = budget.approvals_of(rows, study.digest) * study.training.rounds - charged
    done = f"{charged} rounds charged, {left} approved rounds left"
    if not left:
        return Diagnosis(subject, Health.OK, f"{done}: it is over")
    try:
        check_study(policy, study, home.config.name)
        budget.check_round(rows, dataset, study, policy)
    except FedprivError as error:
        return Diagnosis(subject, Health.FAIL, f"{done}; {error.message}", error.hint or _POLICY_FIX)
    fit = budget.rounds_that_fit(rows, dataset, study, policy)
    if fit < left:
        return Diagnosis(subject, Health.WARN, f"{done}, the budget pays for {fit}", _POLICY_FIX)
    return Diagnosis(subject, Health.OK, f"{done}, all fit the budget")


def _failed(subject: str, error: FedprivError) -> Diagnosis:
    return Diagnosis(subject, Health.FAIL, error.message, error.hint)
