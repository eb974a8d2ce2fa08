"""The one-run audit on the real training path: it finds a fault, and finds none where there is none."""

import pytest

from fedpriv.audit.attack.one_run import claimed_epsilon, fixed_guesses, one_run, play
from fedpriv.audit.attack.one_run_bound import epsilon_ceiling, epsilon_lower_bound
from fedpriv.audit.attack.row import Role
from fedpriv.audit.attack.subjects import small_studies
from fedpriv.dp import step

STUDIES = {study.privacy.noise: study for study in small_studies()}
CANARIES = 1000


def bound(study, played):
    guesses = fixed_guesses(study, CANARIES)
    outcome = play(played, CANARIES, guesses)
    return epsilon_lower_bound(CANARIES, guesses, outcome.right, delta=study.privacy.delta)


def test_the_small_studies_claim_no_less_than_they_cost():
    for study in STUDIES.values():
        assert claimed_epsilon(study) <= study.privacy.epsilon <= claimed_epsilon(study) * 1.02


@pytest.mark.parametrize("noise", STUDIES)
def test_a_quarter_of_the_noise_contradicts_and_all_of_it_does_not(noise):
    study = STUDIES[noise]
    claim = claimed_epsilon(study)
    for _ in range(2):
        assert bound(study, study.with_noise_multiplier(study.noise_multiplier / 4)) > claim
        assert 0 < bound(study, study) <= claim


def test_a_trainer_that_quietly_adds_a_quarter_of_the_noise_is_caught(monkeypatch):
    study, real = STUDIES["local"], step.gaussian_noise
    monkeypatch.setattr(step, "gaussian_noise", lambda dimension, deviation: real(dimension, deviation / 4))
    assert bound(study, study) > claimed_epsilon(study)


def test_rows_print_the_ceiling_and_only_the_planned_run_can_contradict():
    study = STUDIES["distributed"]
    rows = list(one_run(study, canaries=400))
    assert [row.role for row in rows] == [Role.CONTROL, Role.SUBJECT, Role.REFERENCE, Role.REFERENCE]
    ceiling = epsilon_ceiling(400, int(rows[0].figures["guesses"]), delta=study.privacy.delta)
    assert all(row.figures["epsilon_ceiling"] == ceiling for row in rows)
    assert rows[1].conclusion == f"found no contradiction; could have shown up to epsilon {ceiling:.2f}"
    assert rows[3].figures["epsilon_lower_bound"] == 0
