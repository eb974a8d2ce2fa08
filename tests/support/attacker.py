"""What a cheating coordinator does with whatever it could get hold of."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedpriv.secagg.key_agreement import pair_mask, self_mask
from fedpriv.secagg.masks import Mask, add_masks
from fedpriv.secagg.messages import Envelope, MaskedUpdate, UnmaskShares, decode
from fedpriv.secagg.ring import unpack
from fedpriv.secagg.shares import lagrange_weights, rebuild


def words_of(upload: Envelope) -> np.ndarray:
    """The masked words that a hospital sent."""
    return np.frombuffer(upload.vector, dtype="<u8").copy()


def context_of(upload: Envelope) -> bytes:
    return decode(upload.body, MaskedUpdate).context


def rebuild_secret(terms, answers: dict[str, Envelope], owner: str, field: str) -> bytes:
    """A secret of ``owner`` from UNMASK replies; ``field`` is one of the two kinds of shares."""
    shares = {}
    for holder, envelope in answers.items():
        for held in getattr(decode(envelope.body, UnmaskShares), field):
            if held.owner == owner:
                shares[terms.hospitals.index(holder) + 1] = held.share
    points = sorted(shares)[: terms.threshold]
    if len(points) < terms.threshold:
        raise LookupError(f"only {len(points)} shares of {owner}")
    return rebuild([shares[x] for x in points], lagrange_weights(points))


def pair_masks_of(victim: str, private_key: bytes, mask_keys: dict[str, bytes], context: bytes) -> list[Mask]:
    private = X25519PrivateKey.from_private_bytes(private_key)
    return [
        pair_mask(private, key, victim, peer, context) for peer, key in mask_keys.items() if peer != victim
    ]


def stripped(terms, upload: Envelope, masks: list[Mask]) -> np.ndarray:
    """The values under ``masks``: the victim's own if these are all its masks, noise otherwise."""
    words = words_of(upload)
    add_masks(words, [mask.negated() for mask in masks])
    return unpack(words, terms.parameters, terms.layout)


def self_mask_of(victim: str, seed: bytes, context: bytes) -> Mask:
    return self_mask(seed, victim, context)
