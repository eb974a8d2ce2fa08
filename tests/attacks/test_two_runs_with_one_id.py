"""The coordinator starts a second run under the id of the first, to get a round number joined twice."""

import pytest
from support.federation import RUN, Federation, terms_for

from fedpriv.secagg.messages import Envelope, Invitation, Stage, encode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken


@pytest.mark.parametrize("number", [1, 2, 3])
def test_round_numbers_of_one_run_only_grow(number):
    with pytest.raises(RuleBroken) as refused:
        Federation(terms_for(3, round=number), last_round=3)
    assert refused.value.code is RefusalCode.ROUND_REPLAYED


def test_the_next_round_is_joined():
    assert Federation(terms_for(3, round=4), last_round=3).run_to(Stage.SHARE)


def test_control_a_hospital_without_memory_joins_the_second_run():
    assert Federation(terms_for(3, round=1), last_round=0).run_to(Stage.SHARE)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"run": b"x" * 16}, RefusalCode.WRONG_RUN),
        ({"round": 2}, RefusalCode.WRONG_RUN),
        ({"roster_digest": b"x" * 32}, RefusalCode.WRONG_ROSTER),
        ({"study_digest": b"x" * 32}, RefusalCode.WRONG_STUDY),
    ],
)
def test_an_invitation_to_anything_else_than_the_terms_is_refused(change, code):
    federation = Federation(terms_for(3))
    honest = {"run": RUN, "round": 1, "roster_digest": b"R" * 32, "study_digest": b"S" * 32}
    invitation = Invitation(**(honest | change))
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].advertise(
            Envelope(Stage.ADVERTISE, encode(invitation), federation.model)
        )
    assert refused.value.code is code


@pytest.mark.parametrize("size", [0, 4 * 29, 4 * 31])
def test_a_model_of_another_size_is_refused(size):
    federation = Federation(terms_for(3))
    request = federation.coordinator.open(federation.model)["h0000"]
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].advertise(Envelope(Stage.ADVERTISE, request.body, bytes(size)))
    assert refused.value.code is RefusalCode.WRONG_MODEL
