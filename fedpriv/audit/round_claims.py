"""What the record of one round claims, recomputed from its signed messages, a roster and a study.

Nothing that the record says about itself is believed: digests are computed anew, names and keys come from
the roster, numbers from the study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from fedpriv.secagg import checks
from fedpriv.secagg.messages import JournalHead
from fedpriv.secagg.terms import cohort_digest, context_digest, message_digest, survivors_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fedpriv.audit.claims import Claims
    from fedpriv.coordinator.run_folder import RoundEnded
    from fedpriv.identity.roster import Roster
    from fedpriv.secagg.messages import Closed
    from fedpriv.secagg.terms import RoundTerms


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Entry = TypeVar("_Entry", bound=_Named)


class RoundClaims:
    """Recomputes one ended round; ``terms`` are those of ``roster`` and study for its number."""

    def __init__(self, claims: Claims, ended: RoundEnded, terms: RoundTerms, roster: Roster) -> None:
        self._claims = claims
        self._ended = ended
        self._record = ended.record
        self._terms = terms
        self._roster = roster
        self._keys = roster.signing_keys()
        self._place = f"round {ended.round}"
        self._complete = ended.outcome == "complete"

    def verify(self) -> None:
        """Every claim of the round; failures are kept with the message that they concern."""
        self._identifiers()
        cohort = self._advertisements()
        context = self._commitments(cohort)
        self._updates(context)
        self._agreements(context)
        self._receipt(context)
        self._outcome()

    def _identifiers(self) -> None:
        record, terms = self._record, self._terms
        for what, given, expected in (
            ("run", record.run, terms.run),
            ("round", record.round, self._ended.round),
            ("roster", record.roster_digest, terms.roster_digest),
            ("study", record.study_digest, terms.study_digest),
        ):
            self._claims.hold(self._place, f"its record is of another {what}", given=given == expected)

    def _advertisements(self) -> bytes:
        listed, model = self._record.advertisements, self._record.model_digest
        for entry in self._known("advertisement", listed, self._terms.hospitals):
            with self._claims.rule(self._of("advertisement", entry.name)):
                checks.advertisement(entry, self._terms, self._keys, model)
        keys = [key for entry in listed for key in (entry.channel_key, entry.mask_key)]
        self._claims.hold(
            self._place, "one X25519 key was advertised twice", given=len(set(keys)) == len(keys)
        )
        return cohort_digest(self._terms, model, listed)

    def _commitments(self, cohort: bytes) -> bytes:
        listed = self._record.commitments
        for entry in self._known("commitment", listed, _names(self._record.advertisements)):
            with self._claims.rule(self._of("commitment", entry.name)):
                checks.commitment(entry, self._keys, cohort)
        context = context_digest(cohort, listed)
        if self._record.context:
            self._claims.hold(
                self._place,
                "its context is not the digest of its advertisements and commitments",
                given=self._record.context == context,
            )
        return context

    def _updates(self, context: bytes) -> None:
        for entry in self._known("masked update", self._record.updates, _names(self._record.commitments)):
            place = self._of("masked update", entry.name)
            with self._claims.rule(place):
                entry.verify(self._keys[entry.name])
            if self._complete:  # in a failed round another context is the very reason
                self._claims.hold(place, "signed another view of the round", given=entry.context == context)
        asked, committed = sorted(self._ended.asked_to_train), _names(self._record.commitments)
        self._claims.hold(
            self._place,
            "an update came from a hospital that, so it says, was not asked to train",
            given=set(_names(self._record.updates)) <= set(asked),
        )
        self._claims.hold(
            self._place,
            "it does not say that all who had committed were asked to train, or none",
            given=asked in ([], committed),
        )

    def _agreements(self, context: bytes) -> None:
        record, terms = self._record, self._terms
        listed = self._known("agreement", record.agreements, record.survivors)
        for entry in listed:
            with self._claims.rule(self._of("agreement", entry.name)):
                checks.agreement(entry, self._keys, context, survivors_digest(record.survivors))
        if self._complete:
            self._enough("agreements", len(listed), terms.threshold)
            self._enough("answers", len(set(record.answered) & set(_names(listed))), terms.threshold)
            self._enough("hospitals in the sum", len(record.survivors), terms.smallest_sum)

    def _receipt(self, context: bytes) -> None:
        record, place = self._record, f"{self._place}, receipt"
        receipt = record.receipt
        if receipt is None:
            self._claims.hold(place, "a complete round has none", given=not self._complete)
            return
        with self._claims.rule(place):
            receipt.verify(self._roster.coordinator.signing_key)
        heads = tuple(JournalHead(entry.name, entry.journal_head) for entry in record.advertisements)
        for what, given in (
            ("run or round", (receipt.run, receipt.round) == (self._terms.run, self._ended.round)),
            ("view of the round", receipt.context == context),
            ("list of survivors", receipt.survivors == record.survivors),
            ("model", receipt.model_digest_after.hex() == self._ended.model_after),
            ("list of journal heads", receipt.journal_heads == heads),
        ):
            self._claims.hold(place, f"it is for another {what}", given=given or not self._complete)

    def verify_acknowledgements(self, listed: Sequence[Closed]) -> None:
        """Hold that ``listed`` are hospitals that answered, and that each signed this round's receipt."""
        receipt = self._record.receipt
        for entry in self._known("acknowledgement", listed, self._record.answered):
            place = self._of("acknowledgement", entry.name)
            with self._claims.rule(place):
                entry.verify(self._keys[entry.name])
            given = receipt is not None and entry.receipt_digest == message_digest(receipt)
            self._claims.hold(place, "it is for another receipt", given=given)

    def _outcome(self) -> None:
        ended, record = self._ended, self._record
        self._claims.hold(
            self._place,
            "the model that the hospitals were shown is not the one it started from",
            given=record.model_digest.hex() in {"", ended.model_before},  # empty: interrupted before it began
        )
        cohort = record.survivors if self._complete else ()
        self._claims.hold(
            self._place, "its cohort is not who signed the updates in its sum", given=ended.cohort == cohort
        )
        if not self._complete:
            self._claims.hold(
                self._place, "it failed and moved the model", given=ended.model_after == ended.model_before
            )

    def _known(self, what: str, listed: Sequence[_Entry], allowed: Collection[str]) -> list[_Entry]:
        """The entries whose sender may have sent one; the others are failures, and so is any disorder."""
        names = _names(listed)
        self._claims.hold(
            self._place, f"its {what}s are not one a hospital, in order", given=names == sorted(set(names))
        )
        known = []
        for entry in listed:
            expected = entry.name in allowed and entry.name in self._keys
            if self._claims.hold(self._of(what, entry.name), "it was not due from there", given=expected):
                known.append(entry)
        return known

    def _enough(self, what: str, count: int, at_least: int) -> None:
        self._claims.hold(
            self._place, f"{count} {what}, at least {at_least} are needed", given=count >= at_least
        )

    def _of(self, what: str, name: str) -> str:
        return f"{self._place}, {what} of {name}"


def _names(entries: Sequence[_Named]) -> list[str]:
    return [entry.name for entry in entries]
