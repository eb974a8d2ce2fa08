"""What no bundle can hold: what the auditor measured and was told; each file as another command prints it.

An attached file is evidence of whoever made it. The report shows its SHA-256, so that the opinion stands on
exactly that file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from fedpriv.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_BYTES = 16 << 20


class CheckResult(msgspec.Struct, frozen=True):
    """One line of `fedpriv audit conformance --json`."""

    noise: str
    unit: str
    check: str
    holds: bool
    observed: str
    catches: str


class Conformance(msgspec.Struct, frozen=True):
    """What `fedpriv audit conformance --json` prints."""

    checks: tuple[CheckResult, ...]

    def about(self, noise: str, unit: str) -> list[CheckResult]:
        """The results for this kind of noise and unit, in their order."""
        return [result for result in self.checks if (result.noise, result.unit) == (noise, unit)]

    def of(self, noise: str, unit: str, names: tuple[str, ...]) -> list[CheckResult] | None:
        """Those of the checks with these names; None unless each is there."""
        found = {result.check: result for result in self.about(noise, unit)}
        return [found[name] for name in names] if set(names) <= set(found) else None


class AttackRow(msgspec.Struct, frozen=True):
    """One row of `fedpriv audit attack --json`; ``role`` is subject, control or reference."""

    attack: str
    subject: str
    role: str
    observed: str
    holds: bool
    conclusion: str


class Attacks(msgspec.Struct, frozen=True):
    """What `fedpriv audit attack all --json` prints, or one attack alone."""

    rows: tuple[AttackRow, ...]

    def of(self, noise: str) -> list[AttackRow]:
        """The rows about this kind of noise, in their order."""
        return [row for row in self.rows if f", {noise} noise" in row.attack]


class Utility(msgspec.Struct, frozen=True):
    """What `fedpriv model evaluate --json` prints, as far as a report needs it."""

    images: int
    accuracy: float
    macro_f1: float
    calibration_error: float


_Content = TypeVar("_Content")


@dataclass(frozen=True, slots=True)
class AttachedFile(Generic[_Content]):
    """A file that was given beside the bundle; ``sha256`` is hex."""

    name: str
    sha256: str
    content: _Content


@dataclass(frozen=True, slots=True)
class Attached:
    """Everything that was given; ``tuning`` is what the operator states about how settings were chosen."""

    conformance: AttachedFile[Conformance] | None = None
    attacks: AttachedFile[Attacks] | None = None
    utility: AttachedFile[Utility] | None = None
    tuning: str | None = None

    def attack_rows(self, noise: str) -> list[AttackRow]:
        """What was found of this kind of noise, nothing if no attack was attached."""
        return [] if self.attacks is None else self.attacks.content.of(noise)


def attach(path: Path, kind: type[_Content], made_by: str) -> AttachedFile[_Content]:
    """Read what the command ``made_by`` printed; InputError if ``path`` holds something else."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or '').lower()}") from error
    if len(raw) > _LARGEST_BYTES:
        raise InputError(f"{path}: more than {_LARGEST_BYTES} bytes, not what `{made_by}` prints")
    try:
        content = msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not what `{made_by}` prints: {error}") from error
    return AttachedFile(path.name, hashlib.sha256(raw).hexdigest(), content)
