"""Keeping score of what was recomputed: a claim holds, or it is kept with the record that it concerns."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedpriv.errors import IdentityError, ProtocolRefused

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Failure:
    """``record`` says where, such as "round 3, agreement of B"; ``reason`` what is wrong there."""

    record: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotShown:
    """What nothing that was given says, for or against; ``record`` is where it would be said."""

    record: str
    reason: str


@dataclass(slots=True)
class Claims:
    """``checked`` claims were recomputed; all but ``failures`` hold. Of ``not_shown`` nothing can be said."""

    checked: int = 0
    failures: list[Failure] = field(default_factory=list)
    not_shown: list[NotShown] = field(default_factory=list)

    def hold(self, record: str, otherwise: str, *, given: bool) -> bool:
        """Count one claim, which holds if ``given`` and fails with the reason ``otherwise``; give it back."""
        self.checked += 1
        if not given:
            self.failures.append(Failure(record, otherwise))
        return given

    def leave_open(self, record: str, reason: str) -> None:
        """Note that the evidence shows nothing about this claim; it is not counted."""
        self.not_shown.append(NotShown(record, reason))

    @contextlib.contextmanager
    def rule(self, record: str) -> Iterator[None]:
        """Count one claim, which fails if a rule of the protocol or of rosters is broken inside."""
        self.checked += 1
        try:
            yield
        except (ProtocolRefused, IdentityError) as error:
            self.failures.append(Failure(record, error.message))
