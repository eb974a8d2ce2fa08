"""A mask key of few bits: the coordinator sweeps the seeds until the update falls out.

Elsewhere 256-bit keys were folded to 28-32 bits of Mersenne Twister and swept in seconds. Here the
control folds to 12 bits; the attack knows the victim's self-mask, as every coordinator does.
"""

import numpy as np
import pytest
from support.attacker import context_of, rebuild_secret, self_mask_of, words_of
from support.federation import Federation, terms_for

from fedpriv.secagg import key_agreement
from fedpriv.secagg.masks import Mask, add_masks
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.ring import unpack

SEED_SPACE = 2**12


def sweep(federation):
    """Try every small seed for the one pair mask of the victim; the values if one fits."""
    terms = federation.terms
    victim = terms.hospitals[0]
    federation.run()
    upload = federation.replies[Stage.UPLOAD, victim]
    answers = {name: federation.replies[Stage.UNMASK, name] for name in terms.hospitals}
    seed = rebuild_secret(terms, answers, victim, "self_mask_shares")
    masked = words_of(upload)
    add_masks(masked, [self_mask_of(victim, seed, context_of(upload)).negated()])
    for guess in range(SEED_SPACE):
        words = masked.copy()
        add_masks(words, [Mask(guess.to_bytes(32, "big"), negative=True)])
        values = unpack(words, terms.parameters, terms.layout)
        if values.max() < 2**terms.bits:  # the spare bits of every lane are empty: false alarm 2^-150
            return values
    return None


@pytest.fixture
def two_hospitals():
    return Federation(terms_for(2))


def test_the_seed_space_cannot_be_swept(two_hospitals):
    assert sweep(two_hospitals) is None


def test_control_a_folded_seed_is_swept(two_hospitals, monkeypatch):
    derive = key_agreement._derive
    monkeypatch.setattr(
        key_agreement,
        "_derive",
        lambda *parts: (int.from_bytes(derive(*parts), "big") % SEED_SPACE).to_bytes(32, "big"),
    )
    victim = two_hospitals.terms.hospitals[0]
    np.testing.assert_array_equal(sweep(two_hospitals), two_hospitals.values[victim])


def test_every_bit_of_the_seed_changes_the_keystream():
    def stream(seed):
        words = np.zeros(4, dtype=np.uint64)
        add_masks(words, [Mask(seed)])
        return words.tobytes()

    seeds = [bytes(32)] + [(1 << bit).to_bytes(32, "big") for bit in range(256)]
    assert len({stream(seed) for seed in seeds}) == 257
