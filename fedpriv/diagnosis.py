"""What a doctor says of one thing: how it is, what was found, and what to do about it.

Here is what hospitals and the coordinator look at alike: versions, the disk, the clock, permissions, dates of
certificates. Nothing is changed by looking.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import importlib.metadata
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from fedpriv import __version__
from fedpriv.errors import FedprivError, HomeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography import x509

VERSIONS = "versions"

_LITTLE_BYTES, _TOO_LITTLE_BYTES = 1_000_000_000, 100_000_000
_SOON = dt.timedelta(days=30)
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH
_TIME_ERROR = 5  # ntp_adjtime(3): no time server keeps the clock


PACKAGES = ("tensorflow", "tf-keras", "tensorflow-privacy", "dp-accounting", "flwr", "cryptography", "numpy")
"""Whose versions must be equal everywhere: they decide what a gradient, a sum and an epsilon are."""


class Health(StrEnum):
    """``WARN`` does not keep anybody from working, ``FAIL`` does."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``fix`` is what to do, None where there is nothing."""

    subject: str
    health: Health
    found: str
    fix: str | None = None


def failed(subject: str, error: FedprivError) -> Diagnosis:
    """What an error says, as a diagnosis."""
    return Diagnosis(subject, Health.FAIL, error.message, error.hint)


def versions(packages: Iterable[str]) -> Diagnosis:
    """That each of ``packages`` is installed, and in which version, fedpriv first."""
    found, missing = [f"fedpriv {__version__}"], []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Diagnosis(
            VERSIONS, Health.FAIL, f"not installed: {', '.join(missing)}", "install fedpriv again"
        )
    return Diagnosis(VERSIONS, Health.OK, ", ".join(found))


def same_versions(own: Diagnosis, path: Path) -> Diagnosis:
    """Whether they are those of another member, whose doctor printed the JSON in the file ``path``.

    HomeError if that is no such file.
    """
    try:
        lines = msgspec.json.decode(path.read_bytes(), type=list[dict[str, str | None]])
        (theirs,) = (line["found"] or "" for line in lines if line["subject"] == VERSIONS)
    except (OSError, msgspec.MsgspecError, KeyError, ValueError) as error:
        raise HomeError(
            f"{path} is not what a doctor prints as JSON",
            hint="the other member runs `fedpriv node doctor --json`, or `fedpriv coordinator doctor --json`",
        ) from error
    here, there = _by_package(own.found), _by_package(theirs)
    differ = [
        f"{package} {here[package]} here and {there[package]} there"
        for package in here
        if package in there and here[package] != there[package]
    ]
    if differ:
        return Diagnosis(
            "versions equal", Health.WARN, ", ".join(differ), "install one version of fedpriv everywhere"
        )
    return Diagnosis("versions equal", Health.OK, f"as in {path}")


def disk(folder: Path) -> Diagnosis:
    """How much room there is where ``folder`` lies."""
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free"
    if free < _LITTLE_BYTES:
        health = Health.FAIL if free < _TOO_LITTLE_BYTES else Health.WARN
        return Diagnosis("disk", health, found, "make room: what cannot be recorded is not done")
    return Diagnosis("disk", Health.OK, found)


def permissions(folder: Path, private: Iterable[Path], others: Iterable[Path]) -> Diagnosis:
    """That ``folder`` can be written by us, by nobody else, and what is ``private`` is read by nobody else.

    ``others`` must not be written by anybody else. Files that do not exist are left out.
    """
    subject = "permissions"
    if not os.access(folder, os.W_OK | os.X_OK):
        return Diagnosis(
            subject, Health.FAIL, f"{folder} cannot be written", "run fedpriv as the owner of its home"
        )
    private, others = list(private), list(others)
    writable = [path for path in (folder, *private, *others) if _mode(path) & _OTHERS_MAY_WRITE]
    readable = [path for path in private if _mode(path) & _OTHERS_MAY_READ]
    if writable:
        listed = " ".join(map(str, writable))
        return Diagnosis(subject, Health.FAIL, f"others can write {listed}", f"chmod go-w {listed}")
    if readable:
        listed = " ".join(map(str, readable))
        return Diagnosis(subject, Health.WARN, f"others can read {listed}", f"chmod go-rwx {listed}")
    return Diagnosis(subject, Health.OK, "nobody else can write here")


def clock(last_unix_time_s: float, what: str) -> Diagnosis:
    """That the clock is not before ``what``, which was written here, and that a time server keeps it.

    Nothing was written yet at the time 0. Other clocks are not known here.
    """
    now = dt.datetime.now(dt.UTC)
    last = dt.datetime.fromtimestamp(last_unix_time_s, dt.UTC)
    if last > now:
        return Diagnosis(
            "clock",
            Health.FAIL,
            f"it is {now:%Y-%m-%d %H:%M} UTC here, and {what} is of {last:%Y-%m-%d %H:%M}",
            "set the clock; Flower refuses a hospital whose clock is more than seconds ahead",
        )
    found = f"{now:%Y-%m-%d %H:%M:%S} UTC{', after ' + what if last_unix_time_s else ''}"
    if not clock_is_kept():
        return Diagnosis(
            "clock",
            Health.WARN,
            f"{found}; no time server keeps it",
            "switch on NTP (such as `timedatectl set-ntp true`), or compare the clocks by phone",
        )
    return Diagnosis("clock", Health.OK, found)


def clock_is_kept() -> bool:
    """Whether the system says that its clock is synchronised; True where it cannot be asked."""
    if sys.platform != "linux":
        return True
    nothing_to_set = ctypes.create_string_buffer(512)  # larger than any struct timex, whose modes are 0
    return bool(ctypes.CDLL(None).ntp_adjtime(nothing_to_set) != _TIME_ERROR)


def dated(
    subject: str, certificate: x509.Certificate, now: dt.datetime, *, fix: str, prefix: str = ""
) -> Diagnosis:
    """How long ``certificate`` is good for; ``now`` is aware of its time zone."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    found = f"{prefix}certificate valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}"
    if not begins <= now <= ends:
        return Diagnosis(subject, Health.FAIL, f"{found}, not today", f"set the clock, or: {fix}")
    if ends - now < _SOON:
        return Diagnosis(subject, Health.WARN, f"{found}, {(ends - now).days} days left", fix)
    return Diagnosis(subject, Health.OK, found)


def _mode(path: Path) -> int:
    return path.stat().st_mode if path.exists() else 0


def _by_package(found: str) -> dict[str, str]:
    pairs = (entry.rpartition(" ") for entry in found.split(", "))
    return {package: version for package, _, version in pairs}
