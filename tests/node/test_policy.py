import math

import pytest
from msgspec.structs import replace
from support.studies import FULL_BATCH, small_study, study_text

from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import HomeError, PolicyRefused
from fedpriv.node.policy import Policy, check_claim, check_study
from fedpriv.secagg.refusal import RefusalCode
from fedpriv.study import parse_study
from fedpriv.toml_files import parse_toml


def refusal_of(call):
    with pytest.raises(PolicyRefused) as error:
        call()
    assert error.value.exit_code == 1
    assert error.value.code is RefusalCode.POLICY
    return error.value.message


def test_a_study_within_the_policy_passes(policy, study):
    for name in study.names:
        check_study(policy, study, name)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"noise": ("distributed",)}, 'policy noise allows distributed; the study has noise = "local"'),
        ({"largest_delta": 1e-6}, "policy largest_delta is 1e-06; the study's is 1e-05"),
        ({"largest_epsilon": 7.5}, "policy largest_epsilon is 7.5; the study's is 8"),
        ({"smallest_cohort": 3}, "policy smallest_cohort is 3; the study goes on with 2 of 3 hospitals"),
        (
            {"colluders": 1},
            "policy colluders is 1; the study tolerates 0 of 3 hospitals in league with the coordinator",
        ),
        ({"smallest_cohort": 9}, "policy smallest_cohort is 9; the study goes on with 2 of 3 hospitals"),
    ],
)
def test_the_stricter_policy_wins_and_names_both_numbers(policy, study, rule, message):
    assert refusal_of(lambda: check_study(replace(policy, **rule), study, "A")) == message


@pytest.mark.parametrize(
    "rule", [{"largest_delta": 1e-5}, {"largest_epsilon": 8.0}, {"smallest_cohort": 2}, {"noise": ("local",)}]
)
def test_a_policy_exactly_at_the_studys_numbers_passes(policy, study, rule):
    check_study(replace(policy, **rule), study, "A")


def test_a_policy_that_says_nothing_of_colluders_wants_one_tolerated(study):
    policy = parse_toml(
        "smallest_cohort = 2\nlargest_epsilon = 8\nlargest_delta = 1e-5", "node.toml", Policy, HomeError
    )
    assert "policy colluders is 1" in refusal_of(lambda: check_study(policy, study, "A"))
    rules = replace(study.secure_aggregation, smallest_cohort=3, colluders=1, dropouts=0)
    check_study(policy, replace(study, secure_aggregation=rules), "A")


def test_a_study_for_other_hospitals_is_refused(policy, study):
    assert refusal_of(lambda: check_study(policy, study, "Z")) == "the study small is for A, B, C, not for Z"


def test_no_noise_needs_to_be_allowed_twice(policy):
    study = parse_study(
        study_text(
            ('noise = "local"', 'noise = "none"\nnoise_multiplier = 0.0'), ("epsilon = 8.0", "epsilon = inf")
        ),
        "x",
    )
    assert "policy noise allows" in refusal_of(lambda: check_study(policy, study, "A"))
    allowing = replace(policy, noise=("none",))
    assert "largest_epsilon is 8" in refusal_of(lambda: check_study(allowing, study, "A"))
    check_study(replace(allowing, largest_epsilon=math.inf), study, "A")
    check_claim(study)


def test_a_claim_that_the_noise_does_not_meet_is_refused_with_what_it_spends(study):
    check_claim(study)
    lying = small_study(FULL_BATCH).with_noise_multiplier(0.5)
    spends = composed_epsilon([lying.cost_of(rounds=4)], 1e-5).pld
    message = refusal_of(lambda: check_claim(lying))
    assert message == (
        f"the study claims epsilon 8, but 8 steps at noise_multiplier 0.5 spend {spends:.4g} at its delta"
    )


def test_a_claim_short_of_the_truth_by_a_little_is_refused():
    study = small_study(FULL_BATCH)
    spends = composed_epsilon([study.cost_of(rounds=4)], 1e-5).pld
    check_claim(replace(study, privacy=replace(study.privacy, epsilon=spends)))
    with pytest.raises(PolicyRefused):
        check_claim(replace(study, privacy=replace(study.privacy, epsilon=spends * 0.999)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("smallest_cohort = 1", "smallest_cohort: expected `int` >= 2"),
        ("largest_epsilon = 0", "largest_epsilon: expected `float` > 0"),
        ("largest_epsilon = nan", "largest_epsilon: expected `float` > 0"),
        ("largest_delta = 1.0", "largest_delta: expected `float` < 1"),
        ("colluders = -1", "colluders: expected `int` >= 0"),
        ("noise = []", "noise: expected `array` of length >= 1"),
        ("noise = ['loud']", "'loud' is none of local, distributed, none"),
        ("largest_rounds = 1", "unknown section or key: largest_rounds"),
    ],
)
def test_a_wrong_policy_is_refused_by_key(line, message):
    lines = {"smallest_cohort": "= 2", "largest_epsilon": "= 8", "largest_delta": "= 1e-5"}
    key, _, value = line.partition(" ")
    text = "\n".join(f"{name} {setting}" for name, setting in (lines | {key: value}).items())
    with pytest.raises(HomeError, match=message):
        parse_toml(text, "node.toml", Policy, HomeError)
