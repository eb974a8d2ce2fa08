"""The hospital's side of one round: six requests in, six replies out, every rule enforced here.

Sans-IO: the caller carries envelopes and persists. To keep "once" across crashes it persists

1. the round number before it sends the reply to ADVERTISE, and passes the last one as ``last_round``:
   a round that a crash interrupted can then never be joined again, so no key of it is ever reused;
2. nothing else, since every secret of the round lives only in this object.

Formal guarantees, whatever the coordinator and ``colluders`` hospitals send:

- at most one reply leaves each stage; the same request again gets the same bytes, another is refused;
- self-mask and mask-key shares of one hospital never both leave;
- nothing about the update leaves but a vector masked under a context that binds run, round, roster,
  study, model, all keys and all commitments;
- after the reply to UNMASK and after any refusal the secrets are gone and the round is dead.

Python cannot overwrite ``bytes``: "gone" means that no reference is left.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedpriv.secagg import checks
from fedpriv.secagg.graph import Graph, draw_graph
from fedpriv.secagg.key_agreement import Channel, pair_mask, self_mask
from fedpriv.secagg.masks import add_masks
from fedpriv.secagg.messages import (
    SHARE_BYTES,
    Addressed,
    Advertisement,
    AdvertisementList,
    Agreement,
    AgreementList,
    Closed,
    Commitment,
    Envelope,
    HeldShare,
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
)
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.ring import pack
from fedpriv.secagg.shares import element, split
from fedpriv.secagg.terms import (
    RoundTerms,
    ciphertexts_digest,
    cohort_digest,
    context_digest,
    message_digest,
    model_digest,
    self_mask_digest,
    survivors_digest,
    vector_digest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from numpy.typing import NDArray

_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Keys:
    """The fresh secrets of one round; gone once the update is masked, never printed."""

    channel_key: X25519PrivateKey = field(repr=False, default_factory=X25519PrivateKey.generate)
    mask_key: X25519PrivateKey = field(repr=False, default_factory=X25519PrivateKey.generate)
    self_mask_seed: bytes = field(repr=False, default_factory=lambda: secrets.token_bytes(32))


class HospitalRound:
    """One hospital in one round.

    ``roster``: name -> raw Ed25519 public key of every member, the hospital's own copy.
    ``coordinator_key``: the coordinator's raw Ed25519 public key, of the same roster.
    ``terms``: built from the hospital's own roster, study and policy.
    ``journal_head``: 32 bytes that travel in the signed advertisement.
    ``last_round``: the highest round number that the hospital has ever joined in this run, 0 if none.

    Every method takes a request and gives its reply; each raises RuleBroken, with the code to send in a
    Refusal, when a rule is broken, and from then on for everything else.
    """

    def __init__(
        self,
        *,
        name: str,
        signing_key: Ed25519PrivateKey,
        roster: Mapping[str, bytes],
        coordinator_key: bytes,
        terms: RoundTerms,
        journal_head: bytes,
        last_round: int,
    ) -> None:
        checks.roster(roster, terms)
        if roster.get(name) != signing_key.public_key().public_bytes_raw() or name not in terms.hospitals:
            raise RuleBroken(RefusalCode.UNKNOWN_HOSPITAL, f"{name} is not in the cohort under its own key")
        if terms.round <= last_round:
            raise RuleBroken(
                RefusalCode.ROUND_REPLAYED, f"round {terms.round} when round {last_round} was already joined"
            )
        self.name = name
        self.terms = terms
        self._signing_key = signing_key
        self._roster = dict(roster)
        self._coordinator_key = coordinator_key
        self._journal_head = journal_head
        self._next: Stage | None = Stage.ADVERTISE
        self._answered: dict[Stage, tuple[bytes, Envelope]] = {}
        self._keys: _Keys | None = _Keys()
        self._held: dict[str, tuple[bytes, bytes]] = {}
        """Owner -> (share of its self-mask seed, share of its mask key)."""
        # The view of the round, filled in stage by stage.
        self._advertisements: dict[str, Advertisement] = {}
        self._graph = Graph((), reach=0, threshold=terms.threshold)
        self._cohort = self._context = b""
        self._commitment: Commitment | None = None
        self._participants: tuple[str, ...] = ()
        self._survivors: tuple[str, ...] = ()

    # The six stages.

    def advertise(self, invitation: Envelope) -> Envelope:
        """ADVERTISE: check the invitation against the terms; give the fresh public keys."""
        return self._once(Stage.ADVERTISE, invitation, self._advertise)

    def share(self, advertisements: Envelope) -> Envelope:
        """SHARE: check everybody's advertisement; give each neighbour its encrypted shares."""
        return self._once(Stage.SHARE, advertisements, self._share)

    def upload(self, mailbox: Envelope, train: Callable[[], NDArray[np.int64]]) -> Envelope:
        """UPLOAD: check commitments and shares, then ``train``; give its int64 (d,) in [0, 2^bits) masked.

        Nothing is trained, so nothing is charged, for a request that breaks a rule or is repeated.
        """
        return self._once(Stage.UPLOAD, mailbox, lambda request: self._upload(request, train))

    def agree(self, survivors: Envelope) -> Envelope:
        """AGREE: check the list of survivors; sign it, the only one in this round."""
        return self._once(Stage.AGREE, survivors, self._agree)

    def unmask(self, agreements: Envelope) -> Envelope:
        """UNMASK: check that t hospitals signed the same list; give the shares that it calls for."""
        reply = self._once(Stage.UNMASK, agreements, self._unmask)
        self._held.clear()
        return reply

    def close(self, receipt: Envelope, journal_head: bytes) -> Envelope:
        """CLOSE: check the coordinator's receipt against what was signed; acknowledge it.

        ``journal_head``: 32 bytes, as they are now, that travel in the signed acknowledgement.
        """
        return self._once(Stage.CLOSE, receipt, lambda request: self._close(request, journal_head))

    def reply_to(self, request: Envelope) -> Envelope | None:
        """The reply that this very request already got, if any: a caller need not persist it twice."""
        digest, reply = self._answered.get(request.stage, (b"", None))
        return reply if digest == _fingerprint(request) else None

    def abandon(self) -> None:
        """Forget every secret; whatever is asked afterwards is refused."""
        self._keys = None
        self._held.clear()
        self._next = None
        self._answered.clear()

    # What the caller may record.

    @property
    def context(self) -> bytes:
        """The digest of this hospital's whole view of the round, empty before UPLOAD."""
        return self._context

    @property
    def survivors(self) -> tuple[str, ...]:
        """The list that this hospital signed, empty before AGREE."""
        return self._survivors

    # How each stage is answered.

    def _once(self, stage: Stage, request: Envelope, answer: Callable[[Envelope], Envelope]) -> Envelope:
        if self._next is None:
            raise RuleBroken(RefusalCode.ROUND_DEAD, "this round was refused or abandoned")
        try:
            if request.stage is not stage:
                raise RuleBroken(RefusalCode.OUT_OF_ORDER, f"a {request.stage.name} request as {stage.name}")
            fingerprint = _fingerprint(request)
            if stage in self._answered:
                first, reply = self._answered[stage]
                if fingerprint != first:
                    raise RuleBroken(RefusalCode.REPEATED_DIFFERENTLY, f"a second, different {stage.name}")
                return reply
            if stage is not self._next:
                raise RuleBroken(RefusalCode.OUT_OF_ORDER, f"{stage.name} when {self._next.name} is due")
            if request.vector and stage is not Stage.ADVERTISE:
                raise RuleBroken(RefusalCode.MALFORMED, f"a vector in a {stage.name} request")
            reply = answer(request)
        except BaseException:
            self.abandon()
            raise
        self._answered[stage] = fingerprint, reply
        self._next = Stage(min(stage + 1, Stage.CLOSE))
        return reply

    def _advertise(self, request: Envelope) -> Envelope:
        terms = self.terms
        checks.invitation(decode(request.body, Invitation), terms)
        if len(request.vector) != _FLOAT32_BYTES * terms.parameters:
            raise RuleBroken(RefusalCode.WRONG_MODEL, f"a model of {len(request.vector)} bytes")
        own = Advertisement(
            name=self.name,
            run=terms.run,
            round=terms.round,
            roster_digest=terms.roster_digest,
            study_digest=terms.study_digest,
            model_digest=model_digest(request.vector),
            channel_key=self._fresh.channel_key.public_key().public_bytes_raw(),
            mask_key=self._fresh.mask_key.public_key().public_bytes_raw(),
            journal_head=self._journal_head,
        ).sealed_by(self._signing_key)
        self._advertisements = {self.name: own}
        return Envelope(Stage.ADVERTISE, encode(own))

    def _share(self, request: Envelope) -> Envelope:
        terms, fresh = self.terms, self._fresh
        listed = decode(request.body, AdvertisementList).advertisements
        own = self._advertisements[self.name]
        checks.own_entry(own, listed)
        checks.advertisements(listed, terms, self._roster, own.model_digest)
        self._advertisements = {advertisement.name: advertisement for advertisement in listed}
        self._cohort = cohort_digest(terms, own.model_digest, listed)
        self._graph = draw_graph(terms, tuple(self._advertisements), self._cohort)

        neighbours = self._graph.neighbours(self.name)
        holders = (self.name, *neighbours)
        xs = [terms.hospitals.index(holder) + 1 for holder in holders]
        seed_shares = split(fresh.self_mask_seed, self._graph.threshold, xs)
        key_shares = split(fresh.mask_key.private_bytes_raw(), self._graph.threshold, xs)
        self._held[self.name] = seed_shares[0], key_shares[0]
        ciphertexts = tuple(
            Addressed(peer, self._channel(peer).seal(seed_share + key_share))
            for peer, seed_share, key_share in zip(neighbours, seed_shares[1:], key_shares[1:], strict=True)
        )
        self._commitment = Commitment(
            name=self.name,
            cohort_digest=self._cohort,
            self_mask_digest=self_mask_digest(fresh.self_mask_seed, self.name, self._cohort),
            ciphertexts_digest=ciphertexts_digest(ciphertexts),
        ).sealed_by(self._signing_key)
        return Envelope(Stage.SHARE, encode(ShareDelivery(self._commitment, ciphertexts)))

    def _upload(self, request: Envelope, train: Callable[[], NDArray[np.int64]]) -> Envelope:
        fresh = self._fresh
        mailbox = decode(request.body, Mailbox)
        checks.own_entry(self._commitment, mailbox.commitments)
        checks.commitments(mailbox.commitments, self.terms, self._roster, self._advertisements, self._cohort)
        self._participants = tuple(commitment.name for commitment in mailbox.commitments)
        participants = set(self._participants)
        peers = tuple(peer for peer in self._graph.neighbours(self.name) if peer in participants)
        if len(peers) + 1 < self._graph.threshold:
            raise RuleBroken(RefusalCode.COHORT_TOO_SMALL, f"only {len(peers)} neighbours are left")
        if tuple(letter.name for letter in mailbox.ciphertexts) != peers:
            raise RuleBroken(RefusalCode.WRONG_PEERS, "shares that are not those of the present neighbours")
        for letter in mailbox.ciphertexts:
            shares = self._channel(letter.name).open(letter.ciphertext)
            self._held[letter.name] = shares[:SHARE_BYTES], shares[SHARE_BYTES:]
            for share in self._held[letter.name]:
                element(share)

        self._context = context_digest(self._cohort, mailbox.commitments)
        masks = [self_mask(fresh.self_mask_seed, self.name, self._context)]
        masks += [
            pair_mask(fresh.mask_key, self._advertisements[peer].mask_key, self.name, peer, self._context)
            for peer in peers
        ]
        values = train()
        if values.size != self.terms.parameters:
            raise RuleBroken(RefusalCode.UPDATE_UNUSABLE, f"an update of {values.size} parameters")
        words = pack(values, self.terms.layout)
        add_masks(words, masks)
        self._keys = None
        vector = words.tobytes()
        update = MaskedUpdate(name=self.name, context=self._context, vector_digest=vector_digest(vector))
        return Envelope(Stage.UPLOAD, encode(update.sealed_by(self._signing_key)), vector)

    def _agree(self, request: Envelope) -> Envelope:
        survivors = decode(request.body, SurvivorList)
        checks.survivor_list(survivors, self.name, self.terms, self._context, self._participants)
        self._survivors = survivors.names
        agreement = Agreement(
            name=self.name, context=self._context, survivors_digest=survivors_digest(survivors.names)
        )
        return Envelope(Stage.AGREE, encode(agreement.sealed_by(self._signing_key)))

    def _unmask(self, request: Envelope) -> Envelope:
        agreements = decode(request.body, AgreementList).agreements
        checks.agreements(agreements, self.terms, self._roster, self._context, self._survivors)
        survivors = set(self._survivors)
        held = sorted(self._held.items())
        reply = UnmaskShares(
            name=self.name,
            context=self._context,
            self_mask_shares=tuple(HeldShare(owner, pair[0]) for owner, pair in held if owner in survivors),
            mask_key_shares=tuple(
                HeldShare(owner, pair[1]) for owner, pair in held if owner not in survivors
            ),
        )
        return Envelope(Stage.UNMASK, encode(reply.sealed_by(self._signing_key)))

    def _close(self, request: Envelope, journal_head: bytes) -> Envelope:
        receipt = decode(request.body, RoundReceipt)
        heads = tuple(JournalHead(name, entry.journal_head) for name, entry in self._advertisements.items())
        expected = RoundReceipt(
            run=self.terms.run,
            round=self.terms.round,
            context=self._context,
            survivors=self._survivors,
            model_digest_after=receipt.model_digest_after,
            published_digest=receipt.published_digest,
            journal_heads=heads,
            signature=receipt.signature,
        )
        if receipt != expected:
            raise RuleBroken(RefusalCode.BAD_RECEIPT, "a receipt of another round than the one signed here")
        receipt.verify(self._coordinator_key)
        closed = Closed(name=self.name, receipt_digest=message_digest(receipt), journal_head=journal_head)
        return Envelope(Stage.CLOSE, encode(closed.sealed_by(self._signing_key)))

    @property
    def _fresh(self) -> _Keys:
        if self._keys is None:
            raise RuleBroken(RefusalCode.ROUND_DEAD, "the keys of this round are gone")
        return self._keys

    def _channel(self, peer: str) -> Channel:
        peer_key = self._advertisements[peer].channel_key
        return Channel(
            self._fresh.channel_key, peer_key, own=self.name, peer=peer, terms=self.terms, cohort=self._cohort
        )


def _fingerprint(request: Envelope) -> bytes:
    state = hashlib.sha256(request.body)
    state.update(request.vector)
    return state.digest()
