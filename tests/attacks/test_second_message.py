"""A second payload under the mask of the first: their difference is in clear."""

import numpy as np
import pytest
from support.attacker import words_of
from support.federation import Federation, terms_for

from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.ring import pack, unpack


class MasksTwice(HospitalRound):
    """Weakened: keeps its keys after the first upload, and uploads as often as it is asked."""

    def upload(self, mailbox, train):
        keys = self._keys
        reply = self._upload(mailbox, train)
        self._keys = keys
        return reply


class AnyOrder(HospitalRound):
    """Weakened in its order alone: whatever is asked is answered again."""

    def _once(self, stage, request, answer):
        del stage
        return answer(request)


def second_upload(federation, change_request=lambda request: request):
    victim = federation.terms.hospitals[0]
    requests = federation.run_to(Stage.UPLOAD)
    machine = federation.hospitals[victim]
    first = machine.upload(requests[victim], lambda: np.full(federation.terms.parameters, 7))
    second = machine.upload(change_request(requests[victim]), lambda: np.full(federation.terms.parameters, 9))
    return words_of(first), words_of(second)


def test_the_same_request_gets_the_same_bytes_whatever_the_values():
    first, second = second_upload(Federation(terms_for(3)))
    np.testing.assert_array_equal(first, second)


def test_another_request_is_refused_and_ends_the_round_for_this_hospital():
    federation = Federation(terms_for(3))
    victim, other = federation.terms.hospitals[:2]
    requests = federation.run_to(Stage.UPLOAD)
    machine = federation.hospitals[victim]
    machine.upload(requests[victim], lambda: federation.values[victim])
    with pytest.raises(RuleBroken) as refused:
        machine.upload(requests[other], lambda: federation.values[victim])
    assert refused.value.code is RefusalCode.REPEATED_DIFFERENTLY
    with pytest.raises(RuleBroken) as dead:
        machine.upload(requests[victim], lambda: federation.values[victim])
    assert dead.value.code is RefusalCode.ROUND_DEAD


def test_without_order_the_keys_are_still_gone():
    with pytest.raises(RuleBroken) as refused:
        second_upload(Federation(terms_for(3), hospital_class=AnyOrder))
    assert refused.value.code is RefusalCode.ROUND_DEAD


def test_control_a_reused_mask_shows_the_difference():
    federation = Federation(terms_for(3), hospital_class=MasksTwice)
    first, second = second_upload(federation)
    layout = federation.terms.layout
    np.testing.assert_array_equal(
        unpack(second - first, federation.terms.parameters, layout), np.full(federation.terms.parameters, 2)
    )


def test_no_two_words_of_one_vector_share_a_mask():
    """Auxiliary values elsewhere were masked with the first words again; here every word has its own."""
    federation = Federation(terms_for(3, parameters=3000))
    victim = federation.terms.hospitals[0]
    federation.exchange(federation.run_to(Stage.UPLOAD))
    words = words_of(federation.replies[Stage.UPLOAD, victim])
    mask = words - pack(federation.values[victim], federation.terms.layout)
    assert len(set(mask.tolist())) == mask.size  # 1,000 draws of 2^64: false alarm below 2^-44
