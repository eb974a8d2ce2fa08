"""One number added to every weight hides nothing: differences between weights stay in clear."""

import numpy as np
from scipy import stats
from support.attacker import words_of
from support.federation import Federation, terms_for

from fedpriv.secagg import hospital
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.ring import pack

PARAMETERS = 3 * 4096


def mask_of_a_flat_update():
    """The masked words of an update that is the same everywhere."""
    federation = Federation(terms_for(3, parameters=PARAMETERS))
    victim = federation.terms.hospitals[0]
    federation.values[victim] = np.full(PARAMETERS, 11)
    federation.exchange(federation.run_to(Stage.UPLOAD))
    words = words_of(federation.replies[Stage.UPLOAD, victim])
    return words - pack(federation.values[victim], federation.terms.layout)


def test_masked_words_differ_and_their_bytes_are_uniform():
    mask = mask_of_a_flat_update()
    assert np.unique(mask).size == mask.size
    counts = np.bincount(mask.view(np.uint8), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-6  # the false-alarm rate of this test


def test_control_a_scalar_mask_is_seen_at_once(monkeypatch):
    def add_one_number(words, masks):
        for mask in masks:
            words += np.uint64(int.from_bytes(mask.seed[:8], "little"))

    monkeypatch.setattr(hospital, "add_masks", add_one_number)
    mask = mask_of_a_flat_update()
    assert np.unique(mask).size == 1
    assert stats.chisquare(np.bincount(mask.view(np.uint8), minlength=256)).pvalue < 1e-6
