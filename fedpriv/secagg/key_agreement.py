"""Keys that two hospitals share: X25519 (RFC 7748), then HKDF-SHA256 (RFC 5869), then their uses.

- The *pair seed* of a mask is salted with the context of the round (terms.context_digest).
- The *channel key* of a pair of shares is salted with the cohort digest and has a direction, so that a
  ciphertext that is sent back to its sender does not open. It encrypts one message, ever, so AES-256-GCM
  runs with the zero nonce.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedpriv.secagg.masks import Mask
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

if TYPE_CHECKING:
    from fedpriv.secagg.terms import RoundTerms

_KEY_BYTES = 32
_ZERO_NONCE = bytes(12)
_FIELD = 2**255 - 19
_LOW_ORDER = frozenset(  # every u of order 1, 2, 4 or 8: https://cr.yp.to/ecdh.html#validate
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _FIELD - 1,
    }
)


def check_public_key(raw: bytes) -> None:
    """Return only if the X25519 public key is in its one canonical form and of no small order.

    RFC 7748 section 5 reads u + p and a set high bit as u, so one key would have several spellings; with a
    point of small order all shared secrets are zero.
    """
    u = int.from_bytes(raw, "little")
    if u >= _FIELD or u in _LOW_ORDER:
        raise RuleBroken(RefusalCode.BAD_KEY, "an X25519 key that is not canonical, or of low order")


def pair_mask(mask_key: X25519PrivateKey, peer_key: bytes, own: str, peer: str, context: bytes) -> Mask:
    """The mask that ``own`` adds for ``peer``; ``peer`` adds its negative, so the two cancel in the sum."""
    smaller, larger = sorted((own, peer))
    info = f"fedpriv pair seed v1|{smaller}|{larger}".encode()
    return Mask(_derive(_exchange(mask_key, peer_key), context, info), negative=own > peer)


def self_mask(seed: bytes, own: str, context: bytes) -> Mask:
    """The mask that ``own`` alone can remove, or t holders of the shares of its 32-byte ``seed``."""
    return Mask(_derive(seed, context, f"fedpriv self mask v1|{own}".encode()))


class Channel:
    """The two directions of encrypted shares between this hospital and one peer, in one round."""

    def __init__(
        self,
        channel_key: X25519PrivateKey,
        peer_key: bytes,
        *,
        own: str,
        peer: str,
        terms: RoundTerms,
        cohort: bytes,
    ) -> None:
        self._secret = _exchange(channel_key, peer_key)
        self._own, self._peer = own, peer
        self._terms, self._cohort = terms, cohort

    def seal(self, shares: bytes) -> bytes:
        """The ciphertext of ``shares`` from this hospital to the peer."""
        cipher, associated = self._direction(self._own, self._peer)
        return cipher.encrypt(_ZERO_NONCE, shares, associated)

    def open(self, ciphertext: bytes) -> bytes:
        """The shares in a ciphertext from the peer to this hospital; RuleBroken(BAD_SHARE) if altered."""
        cipher, associated = self._direction(self._peer, self._own)
        try:
            return cipher.decrypt(_ZERO_NONCE, ciphertext, associated)
        except InvalidTag as error:
            raise RuleBroken(RefusalCode.BAD_SHARE, f"the shares of {self._peer} do not open") from error

    def _direction(self, sender: str, recipient: str) -> tuple[AESGCM, bytes]:
        path = f"|{sender}|{recipient}".encode()
        key = _derive(self._secret, self._cohort, b"fedpriv channel v1" + path)
        return AESGCM(key), self._terms.run + struct.pack("<Q", self._terms.round) + path


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    check_public_key(public)
    return private.exchange(X25519PublicKey.from_public_bytes(public))


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt, info).derive(secret)
