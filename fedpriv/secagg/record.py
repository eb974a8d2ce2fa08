"""What a round leaves behind: every signed message of it, and nothing secret.

An auditor who has the roster recomputes the cohort digest, the context and the list of survivors from
it, and checks each signature. Shares and vectors are not in it.
"""

from __future__ import annotations

import msgspec

from fedpriv.secagg.messages import Advertisement, Agreement, Commitment, MaskedUpdate, RoundReceipt
from fedpriv.secagg.refusal import RefusalCode


class RoundRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One round, as far as it got; every tuple is sorted by the hospital's name."""

    run: bytes
    round: int
    roster_digest: bytes
    study_digest: bytes
    model_digest: bytes
    context: bytes
    advertisements: tuple[Advertisement, ...]
    commitments: tuple[Commitment, ...]
    updates: tuple[MaskedUpdate, ...]
    agreements: tuple[Agreement, ...]
    answered: tuple[str, ...]
    refusals: dict[str, RefusalCode]
    receipt: RoundReceipt | None

    @property
    def survivors(self) -> tuple[str, ...]:
        """Whose updates are in the sum."""
        return tuple(update.name for update in self.updates)
