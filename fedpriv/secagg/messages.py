"""Everything that travels between the coordinator and a hospital, as closed schemas.

A round has six stages of one request and one reply each (protocol.md names them 0 to 5):

    stage      request                           reply
    ADVERTISE  Invitation + model vector         Advertisement
    SHARE      AdvertisementList                 ShareDelivery
    UPLOAD     Mailbox                           MaskedUpdate + masked vector
    AGREE      SurvivorList                      Agreement
    UNMASK     AgreementList                     UnmaskShares
    CLOSE      RoundReceipt                      Closed

``Refusal`` may stand in place of any reply. Nothing else ever leaves a hospital.

Encoding: MessagePack arrays, the first element naming the type. ``decode`` accepts exactly the
bytes that ``encode`` makes: unknown types and fields, wrong lengths, sizes above the limits,
trailing bytes and every other encoding of the same values (long integers, long headers) are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Self, TypeVar

import msgspec

from fedpriv.identity.signing import BadSignature, sign, verify
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_HOSPITALS = 2048
MAX_BODY_BYTES = 2 << 20  # 2,048 advertisements of less than 400 bytes, with room to spare
SHARE_BYTES = 33  # an element of the field of shares.py, 257 bits
CIPHERTEXT_BYTES = 2 * SHARE_BYTES + 16  # both shares of one peer and the GCM tag

Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9][a-zA-Z0-9-]{0,31}\Z")]
RunId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
RoundNumber = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Share = Annotated[bytes, msgspec.Meta(min_length=SHARE_BYTES, max_length=SHARE_BYTES)]
Ciphertext = Annotated[bytes, msgspec.Meta(min_length=CIPHERTEXT_BYTES, max_length=CIPHERTEXT_BYTES)]
_PerHospital = msgspec.Meta(max_length=MAX_HOSPITALS)


class Stage(IntEnum):
    """The six exchanges of a round, in order."""

    ADVERTISE = 0
    SHARE = 1
    UPLOAD = 2
    AGREE = 3
    UNMASK = 4
    CLOSE = 5


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message on the wire: its stage, its encoded body and, in two of them, one vector.

    ``vector`` is the model as float32 little endian in the ADVERTISE request, the masked update as
    uint64 little endian in the UPLOAD reply, and empty everywhere else.
    """

    stage: Stage
    body: bytes
    vector: bytes = field(default=b"", repr=False)


class Message(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=True, tag_field="type"
):
    """Base of every body."""


class Signed(Message, frozen=True, kw_only=True):
    """Base of the bodies that their sender signs; ``signature`` comes last on the wire.

    What is signed is the whole message with an empty signature, for the purpose that the type names.
    """

    purpose: ClassVar[bytes]

    signature: Signature = b""

    def sealed_by(self, key: Ed25519PrivateKey) -> Self:
        """A copy that carries the signature of ``key``."""
        return msgspec.structs.replace(self, signature=sign(key, self.purpose, self._statement()))

    def verify(self, public_key: bytes) -> None:
        """Return only if ``public_key`` signed this message; raise RuleBroken otherwise."""
        try:
            verify(public_key, self.purpose, self._statement(), self.signature)
        except BadSignature as error:
            raise RuleBroken(RefusalCode.BAD_SIGNATURE, error.message) from error

    def _statement(self) -> bytes:
        return encode(msgspec.structs.replace(self, signature=b""))


class JournalHead(Message, frozen=True, tag="journal-head"):
    """The journal head that a hospital advertised."""

    name: Name
    head: Digest


class Invitation(Message, frozen=True, tag="invitation"):
    """ADVERTISE: the coordinator names the round; the model travels as the envelope's vector.

    ``journal_heads`` are the last ones that hospitals signed for it, sorted by name: who no longer knows its
    own has lost rows.
    """

    run: RunId
    round: RoundNumber
    roster_digest: Digest
    study_digest: Digest
    journal_heads: Annotated[tuple[JournalHead, ...], _PerHospital] = ()


class Advertisement(Signed, frozen=True, tag="advertisement"):
    """A hospital's two fresh X25519 public keys, bound to everything it believes about the round."""

    purpose: ClassVar[bytes] = b"fedpriv advertisement v1"

    name: Name
    run: RunId
    round: RoundNumber
    roster_digest: Digest
    study_digest: Digest
    model_digest: Digest
    channel_key: PublicKey
    mask_key: PublicKey
    journal_head: Digest


class AdvertisementList(Message, frozen=True, tag="advertisements"):
    """SHARE: every advertisement of the round, sorted by name."""

    advertisements: Annotated[tuple[Advertisement, ...], _PerHospital]


class Addressed(Message, frozen=True, tag="addressed"):
    """One encrypted pair of shares; ``name`` is the recipient on the way in, the sender on the way out."""

    name: Name
    ciphertext: Ciphertext


class Commitment(Signed, frozen=True, tag="commitment"):
    """What a hospital commits to before it masks: H(self-mask seed) and H(all its ciphertexts)."""

    purpose: ClassVar[bytes] = b"fedpriv commitment v1"

    name: Name
    cohort_digest: Digest
    self_mask_digest: Digest
    ciphertexts_digest: Digest


class ShareDelivery(Message, frozen=True, tag="share-delivery"):
    """A hospital's shares, one ciphertext for each peer, sorted by name, under its commitment."""

    commitment: Commitment
    ciphertexts: Annotated[tuple[Addressed, ...], _PerHospital]


class Mailbox(Message, frozen=True, tag="mailbox"):
    """UPLOAD: all commitments, sorted by name, and the ciphertexts that are for this hospital."""

    commitments: Annotated[tuple[Commitment, ...], _PerHospital]
    ciphertexts: Annotated[tuple[Addressed, ...], _PerHospital]


class MaskedUpdate(Signed, frozen=True, tag="masked-update"):
    """The signed digest of the masked vector and of the whole view that the masks were made from."""

    purpose: ClassVar[bytes] = b"fedpriv masked update v1"

    name: Name
    context: Digest
    vector_digest: Digest


class SurvivorList(Message, frozen=True, tag="survivors"):
    """AGREE: whose updates are in the sum of the round with this context, sorted by name."""

    context: Digest
    names: Annotated[tuple[Name, ...], _PerHospital]


class Agreement(Signed, frozen=True, tag="agreement"):
    """A hospital's one signature on one list of survivors."""

    purpose: ClassVar[bytes] = b"fedpriv agreement v1"

    name: Name
    context: Digest
    survivors_digest: Digest


class AgreementList(Message, frozen=True, tag="agreements"):
    """UNMASK: the agreements, sorted by name. It cannot ask for anything: the hospital decides."""

    agreements: Annotated[tuple[Agreement, ...], _PerHospital]


class HeldShare(Message, frozen=True, tag="held-share"):
    """A share that the sender holds of a secret of ``owner``."""

    owner: Name
    share: Share


class UnmaskShares(Signed, frozen=True, tag="unmask-shares"):
    """Self-mask shares of survivors, mask-key shares of the dropped; never both of one owner."""

    purpose: ClassVar[bytes] = b"fedpriv unmask shares v1"

    name: Name
    context: Digest
    self_mask_shares: Annotated[tuple[HeldShare, ...], _PerHospital]
    mask_key_shares: Annotated[tuple[HeldShare, ...], _PerHospital]


class RoundReceipt(Signed, frozen=True, tag="receipt"):
    """CLOSE: the coordinator's countersignature on what the round was and what came of it.

    ``published_digest`` is of the model for the world, which is an average over rounds in some studies.
    """

    purpose: ClassVar[bytes] = b"fedpriv round receipt v1"

    run: RunId
    round: RoundNumber
    context: Digest
    survivors: Annotated[tuple[Name, ...], _PerHospital]
    model_digest_after: Digest
    published_digest: Digest
    journal_heads: Annotated[tuple[JournalHead, ...], _PerHospital]


class Closed(Signed, frozen=True, tag="closed"):
    """The hospital holds the receipt. ``journal_head`` has the round's charge behind it."""

    purpose: ClassVar[bytes] = b"fedpriv closed v1"

    name: Name
    receipt_digest: Digest
    journal_head: Digest


class Refusal(Message, frozen=True, tag="refusal"):
    """The only other thing that a hospital ever sends."""

    code: RefusalCode


_ENCODER = msgspec.msgpack.Encoder()


def refusal(stage: Stage, code: RefusalCode) -> Envelope:
    """The envelope in which a hospital declines the request of ``stage``."""
    return Envelope(stage, encode(Refusal(code)))


def refusal_in(body: bytes) -> RefusalCode | None:
    """The code, if ``body`` is a refusal; a refusal has one encoding for each code."""
    return _REFUSALS.get(body)


def encode(message: Message) -> bytes:
    """The one canonical encoding of ``message``."""
    return _ENCODER.encode(message)


_Body = TypeVar("_Body", bound=Message)


def decode(body: bytes, kind: type[_Body]) -> _Body:
    """The message of type ``kind`` that ``body`` canonically encodes; raise RuleBroken otherwise."""
    if len(body) > MAX_BODY_BYTES:
        raise RuleBroken(RefusalCode.MALFORMED, f"a body of {len(body)} bytes, above {MAX_BODY_BYTES}")
    try:
        message = msgspec.msgpack.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RuleBroken(RefusalCode.MALFORMED, f"not a {kind.__name__}") from error
    if encode(message) != body:
        raise RuleBroken(RefusalCode.MALFORMED, f"a {kind.__name__} that is not canonically encoded")
    return message


_REFUSALS = {encode(Refusal(code)): code for code in RefusalCode}
