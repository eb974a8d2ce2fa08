"""The coordinator's side of one round: it sums masked vectors as they arrive and opens only the sum.

Sans-IO: ``open`` gives the first requests, ``receive`` takes each reply, ``advance`` ends a stage and
gives the next requests, ``total`` opens the sum, ``close`` gives the receipts. Whoever has not replied
when a stage ends has dropped out. Memory is one accumulator, whatever the number of hospitals.

A reply that breaks a rule raises RuleBroken: its sender counts as dropped, the round goes on. The round
fails closed (RoundFailed) when too few hospitals are left, when a signed update carries another view
than the coordinator's (the sum would be noise), and when no t shares rebuild what was committed to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fedpriv.errors import RoundFailed
from fedpriv.secagg import checks
from fedpriv.secagg.graph import Graph, draw_graph
from fedpriv.secagg.masks import add_masks
from fedpriv.secagg.messages import (
    Addressed,
    Advertisement,
    AdvertisementList,
    Agreement,
    AgreementList,
    Closed,
    Commitment,
    Envelope,
    Invitation,
    JournalHead,
    Mailbox,
    MaskedUpdate,
    RoundReceipt,
    ShareDelivery,
    Stage,
    SurvivorList,
    UnmaskShares,
    decode,
    encode,
    refusal_in,
)
from fedpriv.secagg.record import RoundRecord
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.ring import check_sum, unpack
from fedpriv.secagg.terms import (
    RoundTerms,
    ciphertexts_digest,
    cohort_digest,
    context_digest,
    message_digest,
    model_digest,
    survivors_digest,
    vector_digest,
)
from fedpriv.secagg.unmasking import Unmasking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from numpy.typing import NDArray

_Entry = TypeVar("_Entry")


class CoordinatorRound:
    """One round seen from the coordinator, which knows its own terms and roster like everybody else.

    ``stage`` is the one whose replies are awaited. ``refusals`` says why a hospital is out: the code
    that it sent, or that its own reply broke. ``unfit_shares`` says who answered UNMASK with a
    share that does not fit, and of whose secrets: others' were taken. ``journal_heads`` maps hospitals to
    the head (32 bytes) that each signed last, as far as the coordinator knows.
    """

    def __init__(
        self,
        *,
        terms: RoundTerms,
        roster: Mapping[str, bytes],
        signing_key: Ed25519PrivateKey,
        journal_heads: Mapping[str, bytes] | None = None,
    ) -> None:
        checks.roster(roster, terms)
        self.terms = terms
        self.stage = Stage.ADVERTISE
        self.refusals: dict[str, RefusalCode] = {}
        self.unfit_shares: dict[str, list[str]] = {}
        self._roster = dict(roster)
        self._signing_key = signing_key
        self._journal_heads = tuple(JournalHead(*entry) for entry in sorted((journal_heads or {}).items()))
        self._awaited: set[str] = set()
        self._failed = False
        self._model_digest = self._cohort = self._context = b""
        self._graph = Graph((), reach=0, threshold=terms.threshold)
        self._advertisements: dict[str, Advertisement] = {}
        self._commitments: dict[str, Commitment] = {}
        self._letters: dict[str, list[Addressed]] = {}
        self._updates: dict[str, MaskedUpdate] = {}
        self._agreements: dict[str, Agreement] = {}
        self._answers: dict[str, UnmaskShares] = {}
        self._receipt: RoundReceipt | None = None
        self._closed: dict[str, Closed] = {}
        self._accumulator: NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)

    # Driving a round.

    def open(self, model: bytes) -> dict[str, Envelope]:
        """ADVERTISE requests for every declared hospital; ``model`` is the vector as float32 LE bytes."""
        terms = self.terms
        self._model_digest = model_digest(model)
        invitation = Invitation(
            terms.run, terms.round, terms.roster_digest, terms.study_digest, self._journal_heads
        )
        return self._ask(terms.hospitals, Envelope(Stage.ADVERTISE, encode(invitation), model))

    def receive(self, name: str, reply: Envelope) -> None:
        """Take one reply of the present stage from the hospital that the transport says is ``name``.

        Raises RuleBroken if it is a refusal, out of turn or wrong (its sender is then out), RoundFailed
        if it shows that the sum would be noise.
        """
        self._refuse_if_failed()
        if name not in self._awaited or reply.stage is not self.stage:
            raise RuleBroken(RefusalCode.OUT_OF_ORDER, f"{name} is not awaited in {reply.stage.name}")
        self._awaited.discard(name)
        try:
            if code := refusal_in(reply.body):
                raise RuleBroken(code, f"{name} refuses: {code.name}")
            if reply.vector and reply.stage is not Stage.UPLOAD:
                raise RuleBroken(RefusalCode.MALFORMED, f"{name} sends a vector in {reply.stage.name}")
            self._take(name, reply)
        except RuleBroken as error:
            self.refusals[name] = error.code
            raise

    def advance(self) -> dict[str, Envelope]:
        """End ADVERTISE, SHARE, UPLOAD or AGREE with whoever replied; the next stage's requests.

        Raises RoundFailed if fewer replied than the next stage needs.
        """
        self._refuse_if_failed()
        match self.stage:
            case Stage.ADVERTISE:
                return self._ask_for_shares()
            case Stage.SHARE:
                return self._ask_for_updates()
            case Stage.UPLOAD:
                return self._ask_for_agreements()
            case Stage.AGREE:
                return self._ask_for_answers()
            case Stage.UNMASK | Stage.CLOSE:  # pragma: no branch - the stages are exhausted
                raise RuleBroken(RefusalCode.OUT_OF_ORDER, "UNMASK ends with total() and close()")

    def total(self) -> NDArray[np.int64]:
        """End UNMASK and open the sum of the survivors' values, exactly: int64 (d,), in [0, n (2^bits - 1)].

        Raises RoundFailed if a secret has too few shares that fit what was committed to, or if the sum is not
        one of s values of ``bits`` bits: somebody masked words of its own making.
        """
        self._refuse_if_failed()
        if self.stage is not Stage.UNMASK:
            raise RuleBroken(RefusalCode.OUT_OF_ORDER, f"no sum in {self.stage.name}")
        self._require(self._answers, self.terms.threshold)
        self._failed = True  # holds unless the sum opens: a second try would find the accumulator half open
        unmasking = Unmasking(
            terms=self.terms,
            graph=self._graph,
            cohort=self._cohort,
            context=self._context,
            advertisements=self._advertisements,
            commitments=self._commitments,
            survivors=frozenset(self._updates),
            answers=self._answers,
        )
        masks = unmasking.masks()
        self.unfit_shares = unmasking.unfit
        self.refusals |= dict.fromkeys(unmasking.unfit, RefusalCode.BAD_SHARE)
        add_masks(self._accumulator, masks)
        words, self._accumulator = self._accumulator, np.zeros(0, dtype=np.uint64)
        total = unpack(words, self.terms.parameters, self.terms.layout)
        try:
            check_sum(total, len(self._updates), self.terms.bits)
        except RuleBroken as error:
            raise RoundFailed(error.message) from error
        self._failed = False
        self.stage = Stage.CLOSE
        return total

    def close(self, model_digest_after: bytes, published_digest: bytes) -> dict[str, Envelope]:
        """CLOSE requests: the receipt for everybody who answered, after the model has been updated."""
        self._refuse_if_failed()
        if self.stage is not Stage.CLOSE:
            raise RuleBroken(RefusalCode.OUT_OF_ORDER, f"no receipt in {self.stage.name}")
        heads = (JournalHead(entry.name, entry.journal_head) for entry in _by_name(self._advertisements))
        self._receipt = RoundReceipt(
            run=self.terms.run,
            round=self.terms.round,
            context=self._context,
            survivors=tuple(sorted(self._updates)),
            model_digest_after=model_digest_after,
            published_digest=published_digest,
            journal_heads=tuple(heads),
        ).sealed_by(self._signing_key)
        return self._ask(self._answers, Envelope(Stage.CLOSE, encode(self._receipt)))

    @property
    def awaited(self) -> frozenset[str]:
        """The hospitals whose reply to the present stage is still out."""
        return frozenset(self._awaited)

    @property
    def record(self) -> RoundRecord:
        """The round so far; also of a round that failed."""
        return RoundRecord(
            run=self.terms.run,
            round=self.terms.round,
            roster_digest=self.terms.roster_digest,
            study_digest=self.terms.study_digest,
            model_digest=self._model_digest,
            context=self._context,
            advertisements=_by_name(self._advertisements),
            commitments=_by_name(self._commitments),
            updates=_by_name(self._updates),
            agreements=_by_name(self._agreements),
            answered=tuple(sorted(self._answers)),
            refusals=dict(sorted(self.refusals.items())),
            receipt=self._receipt,
        )

    @property
    def closed(self) -> tuple[Closed, ...]:
        """The acknowledgements of the receipt so far, sorted by name."""
        return _by_name(self._closed)

    # What each stage takes.

    def _take(self, name: str, reply: Envelope) -> None:
        match reply.stage:
            case Stage.ADVERTISE:
                self._take_advertisement(name, decode(reply.body, Advertisement))
            case Stage.SHARE:
                self._take_shares(name, decode(reply.body, ShareDelivery))
            case Stage.UPLOAD:
                self._take_update(name, decode(reply.body, MaskedUpdate), reply.vector)
            case Stage.AGREE:
                self._take_agreement(name, decode(reply.body, Agreement))
            case Stage.UNMASK:
                self._take_answer(name, decode(reply.body, UnmaskShares))
            case Stage.CLOSE:  # pragma: no branch - the stages are exhausted
                self._take_closed(name, decode(reply.body, Closed))

    def _take_advertisement(self, name: str, entry: Advertisement) -> None:
        self._check_sender(name, entry.name)
        checks.advertisement(entry, self.terms, self._roster, self._model_digest)
        keys = {key for other in self._advertisements.values() for key in (other.channel_key, other.mask_key)}
        if entry.channel_key == entry.mask_key or keys & {entry.channel_key, entry.mask_key}:
            raise RuleBroken(RefusalCode.DUPLICATE_KEY, f"{name} advertises a key that is already in use")
        self._advertisements[name] = entry

    def _take_shares(self, name: str, delivery: ShareDelivery) -> None:
        commitment = delivery.commitment
        self._check_sender(name, commitment.name)
        checks.commitment(commitment, self._roster, self._cohort)
        if commitment.ciphertexts_digest != ciphertexts_digest(delivery.ciphertexts):
            raise RuleBroken(RefusalCode.BAD_SHARE, f"{name} did not commit to these shares")
        recipients = tuple(letter.name for letter in delivery.ciphertexts)
        if recipients != self._graph.neighbours(name):
            raise RuleBroken(RefusalCode.WRONG_PEERS, f"{name} shares with others than its neighbours")
        self._commitments[name] = commitment
        for letter in delivery.ciphertexts:
            self._letters.setdefault(letter.name, []).append(Addressed(name, letter.ciphertext))

    def _take_update(self, name: str, update: MaskedUpdate, vector: bytes) -> None:
        self._check_sender(name, update.name)
        update.verify(self._roster[name])
        if update.context != self._context:
            self._updates[name] = update  # the signed evidence stays in the record
            self._failed = True
            raise RoundFailed(f"{name} signed another view of the round: with its update the sum is noise")
        if len(vector) != self._accumulator.nbytes or update.vector_digest != vector_digest(vector):
            raise RuleBroken(RefusalCode.UPDATE_UNUSABLE, f"{name} did not sign this vector")
        self._accumulator += np.frombuffer(vector, dtype="<u8")
        self._updates[name] = update

    def _take_agreement(self, name: str, agreement: Agreement) -> None:
        self._check_sender(name, agreement.name)
        checks.agreement(
            agreement, self._roster, self._context, survivors_digest(tuple(sorted(self._updates)))
        )
        self._agreements[name] = agreement

    def _take_answer(self, name: str, answer: UnmaskShares) -> None:
        self._check_sender(name, answer.name)
        answer.verify(self._roster[name])
        held = [
            owner for owner in sorted({name, *self._graph.neighbours(name)}) if owner in self._commitments
        ]
        expected = (
            [owner for owner in held if owner in self._updates],
            [owner for owner in held if owner not in self._updates],
        )
        given = ([s.owner for s in answer.self_mask_shares], [s.owner for s in answer.mask_key_shares])
        if answer.context != self._context or given != expected:
            raise RuleBroken(RefusalCode.BAD_SHARE, f"{name} answers for others than the list calls for")
        self._answers[name] = answer

    def _take_closed(self, name: str, closed: Closed) -> None:
        self._check_sender(name, closed.name)
        closed.verify(self._roster[name])
        if self._receipt is None or closed.receipt_digest != message_digest(self._receipt):
            raise RuleBroken(RefusalCode.BAD_RECEIPT, f"{name} acknowledges another receipt")
        self._closed[name] = closed

    # What each stage asks.

    def _ask_for_shares(self) -> dict[str, Envelope]:
        self._require(self._advertisements, self.terms.smallest_sum)
        listed = _by_name(self._advertisements)
        self._cohort = cohort_digest(self.terms, self._model_digest, listed)
        self._graph = draw_graph(self.terms, tuple(entry.name for entry in listed), self._cohort)
        self.stage = Stage.SHARE
        return self._ask(self._advertisements, Envelope(Stage.SHARE, encode(AdvertisementList(listed))))

    def _ask_for_updates(self) -> dict[str, Envelope]:
        self._require(self._commitments, self.terms.smallest_sum)
        listed = _by_name(self._commitments)
        self._context = context_digest(self._cohort, listed)
        self._accumulator = np.zeros(self.terms.words, dtype=np.uint64)
        self.stage = Stage.UPLOAD
        requests: dict[str, Envelope] = {}
        for name in self._commitments:
            letters = sorted(self._letters.pop(name, []), key=lambda letter: letter.name)
            requests |= self._ask([name], Envelope(Stage.UPLOAD, encode(Mailbox(listed, tuple(letters)))))
        self._letters.clear()
        self._awaited = set(requests)
        return requests

    def _ask_for_agreements(self) -> dict[str, Envelope]:
        self._require(self._updates, self.terms.smallest_sum)
        self.stage = Stage.AGREE
        survivors = SurvivorList(self._context, tuple(sorted(self._updates)))
        return self._ask(self._updates, Envelope(Stage.AGREE, encode(survivors)))

    def _ask_for_answers(self) -> dict[str, Envelope]:
        self._require(self._agreements, self.terms.threshold)
        self.stage = Stage.UNMASK
        agreements = AgreementList(_by_name(self._agreements))
        return self._ask(self._agreements, Envelope(Stage.UNMASK, encode(agreements)))

    def _ask(self, names: Iterable[str], request: Envelope) -> dict[str, Envelope]:
        requests = dict.fromkeys(names, request)
        self._awaited = set(requests)
        return requests

    def _require(self, replies: Mapping[str, object], at_least: int) -> None:
        if len(replies) < at_least:
            self._failed = True
            raise RoundFailed(
                f"{len(replies)} hospitals left after {self.stage.name}, at least {at_least} are needed"
            )

    def _refuse_if_failed(self) -> None:
        if self._failed:
            raise RoundFailed("this round already failed; a new one has new keys")

    @staticmethod
    def _check_sender(name: str, claimed: str) -> None:
        if claimed != name:
            raise RuleBroken(RefusalCode.UNKNOWN_HOSPITAL, f"{name} sends in the name of {claimed}")


def _by_name(entries: Mapping[str, _Entry]) -> tuple[_Entry, ...]:
    return tuple(entries[name] for name in sorted(entries))
