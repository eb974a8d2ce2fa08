"""The coordinator picks threshold 1 and a cohort of one or two: elsewhere accepted, here not expressible."""

import numpy as np
import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg import checks, messages
from fedpriv.secagg.messages import AdvertisementList, Envelope, Stage, SurvivorList, encode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken


def sum_of_two(federation):
    """Drop everybody but two of five hospitals before they upload."""
    lost = federation.terms.hospitals[2:]
    return federation.run({Stage.ADVERTISE: lost})


def test_no_request_has_a_field_for_policy():
    requests = [
        messages.Invitation,
        messages.AdvertisementList,
        messages.Mailbox,
        messages.SurvivorList,
        messages.AgreementList,
    ]
    fields = {field for request in requests for field in request.__struct_fields__}
    assert fields == {
        "run",
        "round",
        "roster_digest",
        "study_digest",
        "journal_heads",
        "advertisements",
        "commitments",
        "ciphertexts",
        "context",
        "names",
        "agreements",
    }


@pytest.mark.parametrize(
    "numbers",
    [
        {"threshold": 1},
        {"threshold": 2},
        {"threshold": 3, "colluders": 1},
        {"threshold": 4, "dropouts": 2},
        {"smallest_cohort": 6},
        {"smallest_cohort": 4},  # three are left of five when two have dropped out
        {"threshold": 5, "dropouts": 0, "smallest_cohort": 5, "colluders": 4},
        {"dropouts": -1},
        {"colluders": -1},
        {"bits": 33},
        {"bits": 1},
        {"parameters": 0},
        {"hospitals": ("a",)},
        {"hospitals": ("b", "a", "c", "d", "e")},
        {"hospitals": ("a", "a", "b", "c", "d")},
    ],
)
def test_terms_that_protect_nobody_cannot_be_built(numbers):
    with pytest.raises(RuleBroken) as refused:
        terms_for(5, **numbers)
    assert refused.value.code is RefusalCode.UNSAFE_TERMS


def test_the_message_names_the_numbers():
    with pytest.raises(RuleBroken, match=r"2 \* 3 must exceed 5 \+ 1"):
        terms_for(5, threshold=3, colluders=1)


def test_a_small_cohort_is_refused_by_the_hospital_and_the_coordinator():
    federation = Federation(terms_for(5))
    requests = federation.coordinator.open(federation.model)
    federation.exchange(requests, lost=federation.terms.hospitals[2:])
    two = tuple(federation.coordinator.record.advertisements)
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].share(Envelope(Stage.SHARE, encode(AdvertisementList(two))))
    assert refused.value.code is RefusalCode.COHORT_TOO_SMALL


def test_a_short_list_of_survivors_is_refused():
    federation = Federation(terms_for(5))
    federation.exchange(federation.run_to(Stage.UPLOAD))
    pair = SurvivorList(federation.coordinator.record.context, federation.terms.hospitals[:2])
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0000"].agree(Envelope(Stage.AGREE, encode(pair)))
    assert refused.value.code is RefusalCode.COHORT_TOO_SMALL


def test_a_hospital_whose_cohort_the_study_does_not_keep_takes_no_part_at_all():
    """If it found out after its upload, the others could still open a sum of four with its update in it."""
    with pytest.raises(RuleBroken, match=r"smallest cohort 5, but 2 of 5 hospitals may drop out"):
        terms_for(5, smallest_cohort=5)


def test_the_smallest_sum_is_enough_for_threshold_and_cohort():
    terms = terms_for(7, threshold=5, dropouts=1, smallest_cohort=6)
    assert terms.smallest_sum == 6 >= max(terms.threshold, terms.smallest_cohort)


def test_control_terms_from_the_coordinator_open_a_sum_of_two(monkeypatch):
    """With threshold 1 the sum of two opens, and one of the two, colluding, subtracts itself."""
    monkeypatch.setattr("fedpriv.secagg.terms.RoundTerms.__post_init__", lambda _self: None)
    federation = Federation(terms_for(5, threshold=1, dropouts=4, smallest_cohort=1))
    victim, colluder = federation.terms.hospitals[:2]
    alone = sum_of_two(federation) - federation.values[colluder]
    np.testing.assert_array_equal(alone, federation.values[victim])


def test_a_member_missing_from_the_roster_is_refused():
    federation = Federation(terms_for(3))
    with pytest.raises(RuleBroken) as refused:
        checks.roster({name: federation.roster[name] for name in ("h0000", "h0001")}, federation.terms)
    assert refused.value.code is RefusalCode.UNKNOWN_HOSPITAL
