"""The same round twice under one mask: the difference of two uploads is the difference of two updates."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support.attacker import words_of
from support.federation import Federation, terms_for

from fedpriv.secagg.hospital import HospitalRound, _Keys
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.ring import unpack


def two_uploads(federation):
    """Run to UPLOAD, kill and restart the hospitals, run the very same round again."""
    victim = federation.terms.hospitals[0]
    uploads = []
    for update in (3, 5):
        federation.values[victim] = np.full(federation.terms.parameters, update)
        federation.exchange(federation.run_to(Stage.UPLOAD))
        uploads.append(words_of(federation.replies[Stage.UPLOAD, victim]))
        federation.restart()
    difference = uploads[1] - uploads[0]
    return unpack(difference, federation.terms.parameters, federation.terms.layout)


def test_a_restarted_hospital_does_not_join_the_round_again():
    federation = Federation(terms_for(3))
    federation.last_round = federation.terms.round  # persisted before the reply to ADVERTISE left
    with pytest.raises(RuleBroken) as refused:
        two_uploads(federation)
    assert refused.value.code is RefusalCode.ROUND_REPLAYED


def test_even_a_forgetful_hospital_masks_afresh():
    """Without the persisted number the keys are still new: the difference is noise."""
    difference = two_uploads(Federation(terms_for(3)))
    assert (difference != 2).sum() > 25  # of 30; false alarm below 2^-100


def test_control_keys_derived_from_the_round_leak_the_difference(monkeypatch):
    """Weakened: all randomness of a round comes from its number, so a replay repeats the masks."""

    class Predictable(HospitalRound):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            key = X25519PrivateKey.from_private_bytes
            name = arguments["name"].encode()
            channel, mask = key((name * 7)[:32]), key((name * 8)[:32][::-1])
            self._keys = _Keys(channel_key=channel, mask_key=mask, self_mask_seed=(name * 9)[:32])

    monkeypatch.setattr("fedpriv.secagg.shares.secrets.randbelow", lambda _bound: 1)
    difference = two_uploads(Federation(terms_for(3), hospital_class=Predictable))
    np.testing.assert_array_equal(difference, np.full(difference.size, 2))
