"""``fedpriv node doctor``: everything that would keep this hospital from a round, each with its fix.

It writes nothing and asks nobody but the coordinator, and of it only a TLS handshake. What one check finds
broken is not asked about again: a home without a configuration gives one line.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from fedpriv.diagnosis import (
    PACKAGES,
    Diagnosis,
    Health,
    clock,
    disk,
    failed,
    permissions,
    same_versions,
    versions,
)
from fedpriv.errors import FedprivError
from fedpriv.identity.fingerprint import key_fingerprint
from fedpriv.identity.rotation import NEXT_FOLDER
from fedpriv.node import budget
from fedpriv.node.doctor_images import image_diagnoses
from fedpriv.node.doctor_link import authority_diagnosis, coordinator_diagnosis
from fedpriv.node.home import CONFIG_FILE, open_home
from fedpriv.node.journal import DATABASE_FILE, HEAD_FILE
from fedpriv.node.policy import check_study
from fedpriv.node.register import REGISTER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fedpriv.node.chain import Row
    from fedpriv.node.home import NodeHome
    from fedpriv.study import Study

_JOURNAL_FIX = "keep the folder as it is, tell the operator, and go on from the newest backup that verifies"
_POLICY_FIX = "ask for a study that fits [policy] of node.toml, or change the policy if you may"
_NEARLY_SPENT = 0.9


def examine(folder: Path, *, compare: Path | None = None) -> Iterator[Diagnosis]:
    """Every diagnosis of the node in ``folder``, as soon as it is known.

    ``compare`` is what the doctor of another member printed as JSON: versions are held against it.
    """
    own = versions(PACKAGES)
    yield own
    if compare is not None:
        yield same_versions(own, compare)
    try:
        home = open_home(folder)
    except FedprivError as error:
        yield failed("node.toml", error)
        return
    yield Diagnosis("node.toml", Health.OK, f"{home.config.name}, calls {home.config.coordinator}")
    yield disk(folder)
    yield permissions(
        folder,
        [folder / DATABASE_FILE, folder / HEAD_FILE, folder / REGISTER_FOLDER],
        [folder / CONFIG_FILE, home.roster_path, home.approved_folder],
    )
    try:
        identity = home.identity()
    except FedprivError as error:
        yield failed("keys", error)
        return
    yield _keys(home, identity.name, identity.signing_public_key)
    try:
        rows = home.rows()
    except FedprivError as error:
        yield Diagnosis("journal", Health.FAIL, error.message, error.hint or _JOURNAL_FIX)
        yield from _federation(home, None)
        return
    found = f"{len(rows)} rows, all verify; that no later one was lost, `fedpriv audit verify` can tell"
    yield Diagnosis("journal", Health.OK, found)
    yield clock(max((row.unix_time_s for row in rows), default=0), "the last row of the journal")
    yield from _federation(home, rows)
    yield from _studies(home, rows)


def _keys(home: NodeHome, name: str, signing_key: bytes) -> Diagnosis:
    if name != home.config.name:
        return Diagnosis(
            "keys",
            Health.FAIL,
            f"they are {name}'s, and node.toml says {home.config.name}",
            "put the identity folder of this hospital back, or correct the name",
        )
    return Diagnosis("keys", Health.OK, f"private, fingerprint {key_fingerprint(signing_key)}")


def _federation(home: NodeHome, rows: Sequence[Row] | None) -> Iterator[Diagnosis]:
    """The roster and what it says of the coordinator; without a journal nobody knows what was pinned."""
    try:
        roster = home.given_roster() if rows is None else home.roster(rows)
    except FedprivError as error:
        yield failed("roster", error)
        return
    yield Diagnosis(
        "roster",
        Health.OK,
        f"{roster.federation}, number {roster.number}, {len(roster.hospitals)} hospitals, countersigned by "
        f"all, fingerprint {roster.fingerprint}",
    )
    if (home.folder / NEXT_FOLDER).exists():
        yield Diagnosis(
            "next keys",
            Health.WARN,
            "new keys wait for a roster that has them",
            "send their request to the operator; or delete identity.next to stay with the old ones",
        )
    now = dt.datetime.now(dt.UTC)
    yield authority_diagnosis(roster, now)
    yield coordinator_diagnosis(home.config.coordinator, roster, now)


def _studies(home: NodeHome, rows: Sequence[Row]) -> Iterator[Diagnosis]:
    try:
        studies = home.approved_studies(rows)
    except FedprivError as error:
        yield failed("studies", error)
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


def _budget(home: NodeHome, rows: Sequence[Row]) -> Diagnosis:
    policy = home.config.policy
    state = budget.budget_of(rows, home.config.dataset.name, policy)
    found = (
        f"{state.dataset}: epsilon {state.epsilon:.4g} of {state.largest_epsilon:g} spent at delta "
        f"{state.delta:g}, {state.rounds} rounds"
    )
    if state.epsilon > _NEARLY_SPENT * state.largest_epsilon:
        return Diagnosis("budget", Health.WARN, f"{found}: nearly all of it", _POLICY_FIX)
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
