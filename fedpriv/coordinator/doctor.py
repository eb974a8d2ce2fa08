"""``fedpriv coordinator doctor``: everything that would keep the operator from a round, each with its fix.

It writes nothing. If the coordinator is open it is asked who is online; otherwise its ports are tried.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import sqlite3
from typing import TYPE_CHECKING

from cryptography import x509

from fedpriv.coordinator import service
from fedpriv.coordinator.home import CONFIG, open_home
from fedpriv.coordinator.run_folder import RoundEnded, open_run
from fedpriv.coordinator.superlink import DATABASE, check_free
from fedpriv.diagnosis import (
    PACKAGES,
    Diagnosis,
    Health,
    clock,
    dated,
    disk,
    failed,
    permissions,
    same_versions,
    versions,
)
from fedpriv.errors import FedprivError, HomeError, Unreachable
from fedpriv.identity import tls
from fedpriv.identity.countersigning import missing
from fedpriv.identity.fingerprint import key_fingerprint
from fedpriv.identity.roster import load_roster
from fedpriv.study import load_study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fedpriv.coordinator.home import CoordinatorHome
    from fedpriv.identity.roster import Roster
    from fedpriv.study import Study

_RENEW = "`fedpriv coordinator certificate`, then start the coordinator again"
_NEW_AUTHORITY = "`fedpriv coordinator certificate --new-authority`, then enrol anew"


def examine(
    folder: Path, *, study_path: Path | None = None, compare: Path | None = None
) -> Iterator[Diagnosis]:
    """Every diagnosis of the coordinator in ``folder``, as soon as it is known.

    ``study_path`` is the study that is to be run, None for that of the last run. ``compare`` is what the
    doctor of a hospital printed as JSON: versions are held against it.
    """
    own = versions(PACKAGES)
    yield own
    if compare is not None:
        yield same_versions(own, compare)
    try:
        home = open_home(folder)
    except FedprivError as error:
        yield failed(CONFIG, error)
        return
    yield Diagnosis(CONFIG, Health.OK, f"hospitals call {home.config.listen.fleet}")
    yield disk(folder)
    yield permissions(
        folder,
        [home.flower_folder],
        [folder / CONFIG, home.roster_path, home.runs_folder, *_records(home)],
    )
    yield clock(max((path.stat().st_mtime for path in _records(home)), default=0), "the last record of a run")
    try:
        operator = home.operator()
    except FedprivError as error:
        yield failed("keys", error)
        return
    found = f"{operator.name}'s, private, fingerprint {key_fingerprint(operator.signing_key)}"
    yield Diagnosis("keys", Health.OK, found)
    yield from _certificates(home, dt.datetime.now(dt.UTC))
    yield from _database(home)
    yield from _draft(home)
    try:
        roster = home.roster()
    except FedprivError as error:
        yield failed("roster", error)
        yield from _ports(home)
        return
    found = f"{roster.federation}, number {roster.number}, {len(roster.hospitals)} hospitals"
    yield Diagnosis("roster", Health.OK, f"{found}, countersigned by all, fingerprint {roster.fingerprint}")
    online = _online(home)
    if online is None:
        yield from _ports(home)
    else:
        absent = sorted(set(roster.names) - online)
        told = f"open, {len(online)} of {len(roster.names)} hospitals online"
        yield Diagnosis("ports", Health.OK, f"{told}{': without ' + ', '.join(absent) if absent else ''}")
    yield from _runs(home, roster)
    yield from _study(home, roster, study_path, online)


def _certificates(home: CoordinatorHome, now: dt.datetime) -> Iterator[Diagnosis]:
    authority = x509.load_pem_x509_certificate((home.tls_folder / tls.CA_CERTIFICATE_FILE).read_bytes())
    yield dated("authority", authority, now, fix=_NEW_AUTHORITY)
    try:
        service.tls_files(home).check()
        pem = (home.tls_folder / tls.SERVER_CERTIFICATE_FILE).read_bytes()
        hosts = tls.server_hosts(pem)
    except FedprivError as error:
        yield failed("certificate", error)
        return
    yield dated(
        "certificate", x509.load_pem_x509_certificate(pem), now, fix=_RENEW, prefix=f"{', '.join(hosts)}; "
    )
    unknown = [host for host in hosts if not _resolves(host)]
    if unknown:
        yield Diagnosis(
            "names",
            Health.WARN,
            f"no address is known here for {', '.join(unknown)}",
            "hospitals must reach it by one of the names: set the DNS, or renew the certificate with --host",
        )


def _database(home: CoordinatorHome) -> Iterator[Diagnosis]:
    path = home.flower_folder / DATABASE
    if not path.exists():
        yield Diagnosis("flower", Health.OK, "no database yet: the first start makes it")
        return
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        answer = str(error)
    if answer == "ok":
        yield Diagnosis("flower", Health.OK, f"its database is sound, {path.stat().st_size / 1e6:.1f} MB")
        return
    yield Diagnosis(
        "flower",
        Health.FAIL,
        f"{path}: {answer}",
        f"stop the coordinator and move {home.flower_folder} away: it holds no round and no key of ours; but "
        "keys that were taken out of the roster could then connect until the next start",
    )


def _draft(home: CoordinatorHome) -> Iterator[Diagnosis]:
    if not home.draft_path.exists():
        return
    try:
        draft = load_roster(home.draft_path)
    except FedprivError as error:
        yield failed("draft", error)
        return
    yield Diagnosis(
        "draft",
        Health.WARN,
        f"roster number {draft.number} waits for the countersignatures of {', '.join(missing(draft))}",
        "`fedpriv keys seal` puts it into force; or delete it",
    )


def _online(home: CoordinatorHome) -> set[str] | None:
    """Who is connected; None if the coordinator is not open."""
    try:
        return service.members(home).online()
    except Unreachable:
        return None


def _ports(home: CoordinatorHome) -> Iterator[Diagnosis]:
    listen = home.config.listen
    addresses = (listen.fleet, listen.serverappio, listen.control)
    try:
        for address in addresses:
            check_free(address)
    except HomeError as error:
        yield failed("ports", error)
        return
    yield Diagnosis("ports", Health.OK, f"free: {', '.join(addresses)}; the coordinator is not open")


def _runs(home: CoordinatorHome, roster: Roster) -> Iterator[Diagnosis]:
    names = service.run_names(home)
    if not names:
        return
    try:
        run = open_run(home.runs_folder / names[-1])
        ended = [line for line in run.lines() if isinstance(line, RoundEnded)]
        run.latest()
    except FedprivError as error:
        yield failed("last run", error)
        return
    strange = [
        line.round for line in ended if line.record.roster_digest and not roster.at(line.record.roster_digest)
    ]
    if strange:
        yield Diagnosis(
            "last run",
            Health.FAIL,
            f"round {strange[-1]} of {names[-1]} was under a roster that is not in {home.roster_path}",
            "an old roster.toml was put back, or one of another federation: restore the newest",
        )
        return
    complete = sum(line.outcome == "complete" for line in ended)
    yield Diagnosis("last run", Health.OK, f"{names[-1]}, {complete} of {len(ended)} rounds complete")


def _study(
    home: CoordinatorHome, roster: Roster, path: Path | None, online: set[str] | None
) -> Iterator[Diagnosis]:
    names = service.run_names(home)
    if path is None and not names:
        yield Diagnosis(
            "study", Health.WARN, "none was named, and there is no run", "name it with --study FILE"
        )
        return
    try:
        study = load_study(path) if path is not None else open_run(home.runs_folder / names[-1]).study
        _ = study.noise_multiplier, study.network
        for name in study.names:
            roster.member(name)
    except FedprivError as error:
        yield failed("study", error)
        return
    yield _cohort(study, online)


def _cohort(study: Study, online: set[str] | None) -> Diagnosis:
    """The sizes that a round needs, and whether so many are there."""
    hospitals, rules = len(study.names), study.secure_aggregation
    needed = hospitals - rules.dropouts
    found = (
        f"{study.study.name}, planned for epsilon {study.privacy.epsilon:g}: {hospitals} hospitals, {needed} "
        f"must be in a sum, {study.threshold} must agree, {rules.colluders} may collude"
    )
    if online is None:
        return Diagnosis("study", Health.OK, found)
    there = online & set(study.names)
    if len(there) < needed:
        absent = ", ".join(sorted(set(study.names) - there))
        return Diagnosis(
            "study",
            Health.WARN,
            f"{found}; only {len(there)} are online",
            f"wait for {absent}, or call their admins: a round without them fails",
        )
    return Diagnosis("study", Health.OK, f"{found}; {len(there)} are online")


def _records(home: CoordinatorHome) -> list[Path]:
    return sorted(home.runs_folder.glob("*/rounds.jsonl"))


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
