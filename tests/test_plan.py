import math

import pytest
from support.studies import DISTRIBUTED, TEXT, small_study, study_text

from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import StudyError
from fedpriv.plan import candidates_line, plan
from fedpriv.study import parse_study


@pytest.fixture(scope="module")
def planned():
    return plan(parse_study(TEXT, "x"))


def test_the_plan_meets_the_target_and_no_smaller_noise_does(planned):
    study = parse_study(TEXT, "x")
    assert planned.epsilon <= 8.0 < planned.epsilon_rdp
    less = study.with_noise_multiplier(planned.noise_multiplier - 1e-4)
    assert composed_epsilon([less.cost_of(rounds=4)], 1e-5).pld > 8.0


def test_alternatives_surround_the_plan(planned):
    table = {(other.rounds, other.sampling_probability): other.epsilon for other in planned.alternatives}
    assert set(table) == {(rounds, q) for rounds in (2, 4, 8) for q in (0.125, 0.25, 0.5)}
    assert table[4, 0.25] == planned.epsilon
    assert table[2, 0.25] < table[4, 0.25] < table[8, 0.25]
    assert table[4, 0.125] < table[4, 0.25] < table[4, 0.5]


def test_alternatives_stay_in_range():
    planned = plan(
        small_study(
            ("rounds = 4", "rounds = 1"), ("sampling_probability = 0.25", "sampling_probability = 1.0")
        )
    )
    assert {other.rounds for other in planned.alternatives} == {1, 2}
    assert {other.sampling_probability for other in planned.alternatives} == {0.5, 1.0}


def test_the_line_about_the_candidates(planned):
    assert 0.01 < planned.candidate_success < math.exp(8) / 100
    assert candidates_line("image", 0.2134) == (
        "an attacker who knows everything except one image and has narrowed it to 100 candidates picks the "
        "right one at most 21.3 % of the time (guessing: 1 %)"
    )


def test_without_noise_there_is_nothing_to_plan():
    study = parse_study(
        study_text(('noise = "local"', 'noise = "none"'), ("epsilon = 8.0", "epsilon = inf")), "x"
    )
    planned = plan(study)
    assert planned.noise_multiplier == 0
    assert math.isinf(planned.epsilon)
    assert planned.candidate_success == 1


def test_a_target_that_no_noise_reaches_is_refused():
    with pytest.raises(StudyError, match="the study small cannot be planned"):
        plan(
            parse_study(
                study_text(("epsilon = 8.0", "epsilon = 1e-9"), ("delta = 1e-5", "delta = 1e-12")), "x"
            )
        )


def test_a_plan_for_shared_noise_says_what_coalitions_leave():
    text = study_text(*DISTRIBUTED, ("A = 100\nB = 80", "A = 60\nB = 60"))
    planned = plan(parse_study(text, "x"))
    assert planned.epsilon <= 8.0
    epsilons = {coalition.colluders: coalition.epsilon for coalition in planned.coalitions}
    assert set(epsilons) == {0, 1, 2}
    assert epsilons[0] == planned.epsilon  # what the study claims: none of its hospitals colludes
    assert epsilons[0] < epsilons[1] == epsilons[2]  # one share is left, the unit's own hospital's
    study = parse_study(text, "x").with_noise_multiplier(planned.noise_multiplier / math.sqrt(2))
    assert epsilons[1] == pytest.approx(composed_epsilon([study.cost_of(4)], 1e-5).pld, rel=1e-3)


def test_noise_of_ones_own_leaves_nothing_to_coalitions(planned):
    assert planned.coalitions == ()
