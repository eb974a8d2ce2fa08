import math

import numpy as np
import pytest
from support.studies import DISTRIBUTED, FULL_BATCH, TEXT, small_study, study_text

from fedpriv.dp.accounting import PrivacyEvent, composed_epsilon
from fedpriv.errors import StudyError
from fedpriv.plan import Spent, candidates_line, course, plan
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


def test_the_course_of_epsilon_ends_at_the_plan(planned):
    assert [spent.rounds for spent in planned.course] == [1, 2, 3, 4]
    epsilons = [spent.epsilon for spent in planned.course]
    assert epsilons == sorted(epsilons)
    assert epsilons[-1] == planned.epsilon
    table = {(other.rounds, other.sampling_probability): other.epsilon for other in planned.alternatives}
    assert epsilons[1] == pytest.approx(table[2, 0.25], rel=2e-3)


@pytest.mark.parametrize(("rounds", "first", "points"), [(1, 1, 1), (20, 1, 20), (21, 1, 20), (1000, 50, 20)])
def test_a_long_course_is_told_at_twenty_rounds_and_the_last(rounds, first, points):
    event = PrivacyEvent(30.0, 1.0, 2)
    told = course([event] * rounds, 1e-5)
    assert (len(told), told[0].rounds) == (points, first)
    assert told[-1] == Spent(rounds, composed_epsilon([PrivacyEvent(30.0, 1.0, 2 * rounds)], 1e-5).pld)
    assert len({spent.rounds for spent in told}) == points
    assert course([], 1e-5) == ()


def test_the_curve_goes_through_the_claim_and_down_to_nothing(planned):
    epsilons, deltas = np.array(planned.curve).T
    assert epsilons[0] == 0
    assert np.interp(planned.epsilon, epsilons, np.log(deltas)) == pytest.approx(math.log(1e-5), abs=0.05)
    assert deltas[-1] == pytest.approx(1e-12, rel=1e-3)
    assert (np.diff(deltas) < 0).all()


def test_patients_with_several_images_are_told_what_the_plan_means_to_them(planned):
    assert [group.images for group in planned.groups] == [2, 5, 10]
    epsilons = [planned.epsilon, *(group.epsilon for group in planned.groups)]
    assert epsilons == sorted(epsilons)
    patients = small_study(('unit = "image"', 'unit = "patient"\nimages_per_patient = 4'), FULL_BATCH)
    assert plan(patients).groups == ()


def test_without_noise_there_is_nothing_to_plan():
    study = parse_study(
        study_text(('noise = "local"', 'noise = "none"'), ("epsilon = 8.0", "epsilon = inf")), "x"
    )
    planned = plan(study)
    assert planned.noise_multiplier == 0
    assert math.isinf(planned.epsilon)
    assert planned.candidate_success == 1
    assert planned.curve == ((0.0, 1.0),)
    assert {spent.epsilon for spent in planned.course} == {math.inf}


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
