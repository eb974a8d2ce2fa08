import pytest
from msgspec.structs import replace
from support.studies import FULL_BATCH, small_study, study_text

from fedpriv.dp.accounting import PrivacyEvent, composed_epsilon, noise_multiplier_for
from fedpriv.errors import PolicyRefused
from fedpriv.identity.keys import new_identity
from fedpriv.node.budget import (
    approvals_of,
    budget_of,
    charges_of,
    check_round,
    release,
    reserve,
    rounds_that_fit,
)
from fedpriv.node.events import Approve, Release, Reserve
from fedpriv.node.journal import Journal
from fedpriv.secagg.refusal import RefusalCode
from fedpriv.study import parse_study

RUN, OTHER_RUN = b"r" * 16, b"s" * 16
REGISTER = b"i" * 32


def approve(journal, study):
    journal.append(Approve(study.study.name, study.digest))


def charge(journal, study, policy, *, rounds=1, run=RUN, dataset="smears"):
    for number in range(1, rounds + 1):
        reserve(journal, dataset, study, policy, run=run, round_number=number, register=REGISTER)


def declined(code, call):
    with pytest.raises(PolicyRefused) as error:
        call()
    assert error.value.code is code
    return error.value.message


def test_a_study_must_be_approved_first(journal, study, policy):
    message = declined(RefusalCode.STUDY_NOT_APPROVED, lambda: charge(journal, study, policy))
    assert study.digest.hex()[:16] in message
    assert journal.rows == ()


def test_a_charge_says_what_the_round_costs(journal, study, policy):
    approve(journal, study)
    charge(journal, study, policy)
    assert charges_of(journal.rows, "smears") == [
        Reserve(RUN, 1, study.digest, "smears", "image", PrivacyEvent(2.0, 1.0, 2), REGISTER)
    ]


def test_what_was_spent_is_the_composition_of_all_charges(journal, study, policy):
    approve(journal, study)
    assert budget_of(journal.rows, "smears", policy).epsilon == 0
    charge(journal, study, policy, rounds=3)
    spent = budget_of(journal.rows, "smears", policy)
    assert spent.epsilon == composed_epsilon([study.cost_of(rounds=3)], 1e-5).pld
    assert (spent.rounds, spent.unit, spent.delta, spent.largest_epsilon) == (3, "image", 1e-5, 8.0)


def test_one_round_too_many_is_refused(journal, study, policy):
    approve(journal, study)
    charge(journal, study, policy, rounds=4)
    message = declined(
        RefusalCode.BUDGET_SPENT, lambda: charge(journal, study, replace(policy, largest_epsilon=100.0))
    )
    assert message == "the study small was approved for 4 rounds and 4 were charged"


def test_another_run_of_the_same_study_needs_another_approval(journal, study, policy):
    rich = replace(policy, largest_epsilon=100.0)
    approve(journal, study)
    charge(journal, study, rich, rounds=4)
    declined(RefusalCode.BUDGET_SPENT, lambda: charge(journal, study, rich, run=OTHER_RUN))
    approve(journal, study)
    charge(journal, study, rich, rounds=4, run=OTHER_RUN)
    assert approvals_of(journal.rows, study.digest) == 2
    declined(RefusalCode.BUDGET_SPENT, lambda: charge(journal, study, rich, run=OTHER_RUN))


def test_the_budget_is_the_datasets_across_studies_runs_and_coordinators(journal, study, policy):
    other = small_study(('name = "small"', 'name = "other"'), FULL_BATCH)
    tight = replace(policy, largest_epsilon=composed_epsilon([study.cost_of(rounds=5)], 1e-5).pld)
    for each in (study, other):
        approve(journal, each)
    charge(journal, study, tight, rounds=4)
    charge(journal, other, tight, run=OTHER_RUN)
    message = declined(RefusalCode.BUDGET_SPENT, lambda: charge(journal, other, tight, run=OTHER_RUN))
    after = composed_epsilon([study.cost_of(rounds=6)], 1e-5).pld
    assert f"largest_epsilon is {tight.largest_epsilon:g} for smears" in message
    assert f"one more round of other would make it {after:.4g} at delta 1e-05" in message
    assert budget_of(journal.rows, "smears", tight).epsilon <= tight.largest_epsilon


def test_different_mechanisms_are_composed_together(journal, study, policy):
    other = small_study(FULL_BATCH).with_noise_multiplier(4.0)
    for each in (study, other):
        approve(journal, each)
        charge(journal, each, policy, rounds=2)
    together = composed_epsilon([study.cost_of(rounds=2), other.cost_of(rounds=2)], 1e-5).pld
    assert budget_of(journal.rows, "smears", policy).epsilon == together
    alone = [composed_epsilon([each.cost_of(rounds=2)], 1e-5).pld for each in (study, other)]
    assert max(alone) < together < sum(alone)


def test_another_dataset_has_its_own_budget(journal, study, policy):
    approve(journal, study)
    charge(journal, study, policy, rounds=2)
    assert budget_of(journal.rows, "others", policy).epsilon == 0
    assert budget_of(journal.rows, "others", policy).unit is None


def test_a_dataset_is_charged_in_one_unit(journal, study, policy):
    patients = small_study(('unit = "image"', 'unit = "patient"\nimages_per_patient = 4'), FULL_BATCH)
    for each in (study, patients):
        approve(journal, each)
    charge(journal, study, policy)
    message = declined(RefusalCode.POLICY, lambda: charge(journal, patients, policy))
    assert message == "the budget of smears is kept per image; the study's is patient"
    assert rounds_that_fit(journal.rows, "smears", patients, policy) == 0
    assert rounds_that_fit(journal.rows, "others", patients, policy) > 0


def test_a_crash_never_refunds(tmp_path, study, policy):
    me = new_identity("A")
    with Journal(tmp_path, me) as journal:
        approve(journal, study)
        charge(journal, study, policy, rounds=2)
        before = budget_of(journal.rows, "smears", policy)
    with Journal(tmp_path, me) as journal:
        assert budget_of(journal.rows, "smears", policy) == before


def test_a_retry_is_charged_again(journal, study, policy):
    approve(journal, study)
    for _ in range(2):
        reserve(journal, "smears", study, policy, run=RUN, round_number=1, register=REGISTER)
    assert budget_of(journal.rows, "smears", policy).rounds == 2


def test_nothing_leaves_without_a_charge(journal, study, policy):
    with pytest.raises(PolicyRefused, match="round 1 was charged 0 times and has released 0 vectors"):
        release(journal, b"v" * 32, run=RUN, round_number=1)
    approve(journal, study)
    charge(journal, study, policy)
    for run, number in ((OTHER_RUN, 1), (RUN, 2)):
        with pytest.raises(PolicyRefused, match="charged 0 times"):
            release(journal, b"v" * 32, run=run, round_number=number)


def test_one_charge_pays_for_one_vector_however_often_it_is_sent(journal, study, policy):
    approve(journal, study)
    charge(journal, study, policy)
    release(journal, b"v" * 32, run=RUN, round_number=1)
    release(journal, b"v" * 32, run=RUN, round_number=1)
    assert sum(isinstance(row.event, Release) for row in journal.rows) == 1
    with pytest.raises(PolicyRefused, match="charged 1 times and has released 1 vectors"):
        release(journal, b"w" * 32, run=RUN, round_number=1)
    charge(journal, study, policy)
    release(journal, b"w" * 32, run=RUN, round_number=1)


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_the_rounds_that_fit_are_exactly_those_that_are_granted(journal, study, policy, rounds):
    epsilon = composed_epsilon([study.cost_of(rounds)], 1e-5).pld if rounds else 0.01
    tight = replace(policy, largest_epsilon=epsilon)
    approve(journal, study)
    assert rounds_that_fit(journal.rows, "smears", study, tight) == rounds
    charge(journal, study, tight, rounds=rounds)
    assert rounds_that_fit(journal.rows, "smears", study, tight) == 0
    declined(RefusalCode.BUDGET_SPENT, lambda: check_round(journal.rows, "smears", study, tight))


def test_no_more_rounds_fit_than_an_approval_grants(journal, study, policy):
    rich = replace(policy, largest_epsilon=1000.0)
    assert rounds_that_fit(journal.rows, "smears", study, rich) == study.training.rounds


def test_a_planned_study_fits_its_own_epsilon_to_the_last_round(journal, study, policy):
    study = study.with_noise_multiplier(noise_multiplier_for(8.0, 1e-5, 1.0, study.steps))
    approve(journal, study)
    charge(journal, study, policy, rounds=study.training.rounds)
    assert 7.9 < budget_of(journal.rows, "smears", policy).epsilon <= 8.0


def test_without_noise_everything_is_spent_at_once(journal, policy):
    study = parse_study(
        study_text(
            ('noise = "local"', 'noise = "none"\nnoise_multiplier = 0.0'), ("epsilon = 8.0", "epsilon = inf")
        ),
        "x",
    )
    approve(journal, study)
    declined(RefusalCode.BUDGET_SPENT, lambda: charge(journal, study, policy))
    charge(journal, study, replace(policy, largest_epsilon=float("inf")))
    assert budget_of(journal.rows, "smears", policy).epsilon == float("inf")
