"""Every number of a report against one computed by hand or by a closed form.

A full-batch run of k steps with noise multiplier z is one Gaussian mechanism of mu = sqrt(k) / z, for which
delta(epsilon) and the whole trade-off are known (Dong, Roth and Su 2022, corollary 2.13 and theorem 2.7).
"""

import math
from dataclasses import replace

import msgspec
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from support.studies import DISTRIBUTED, ENOUGH_NOISE, FULL_BATCH, small_study

from fedpriv.audit.report.facts import facts_of
from fedpriv.audit.report.participation import Part
from fedpriv.coordinator.bundle import ROUNDS
from fedpriv.coordinator.run_folder import RoundEnded, RoundStarted

ROUNDS_RUN, LOCAL_STEPS = 2, 2
MU = math.sqrt(ROUNDS_RUN * LOCAL_STEPS) / ENOUGH_NOISE


def gaussian_delta(epsilon, mu):
    return norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon + norm.logcdf(-epsilon / mu - mu / 2))


def gaussian_epsilon(mu, delta=1e-5):
    return brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0, 1000)


def test_epsilon_is_the_closed_form_after_every_round(subject):
    facts = subject().facts
    assert (facts.charged, facts.complete, facts.failed) == (2, 2, 0)
    assert facts.spent.pld == pytest.approx(gaussian_epsilon(MU), rel=2e-3)
    assert [(point.round, point.charged) for point in facts.course] == [(1, 1), (2, 2)]
    for point in facts.course:
        mu = math.sqrt(point.charged * LOCAL_STEPS) / ENOUGH_NOISE
        assert point.epsilon.pld == pytest.approx(gaussian_epsilon(mu), rel=2e-3)
        assert point.epsilon.rdp >= point.epsilon.pld


def test_the_curve_is_the_closed_form_and_never_below_it(subject):
    curve = subject().facts.curve
    assert curve.epsilons[0] == 0
    assert curve.epsilons[-1] == pytest.approx(1.5 * gaussian_epsilon(MU), rel=2e-3)
    for epsilon, delta in zip(curve.epsilons, curve.deltas, strict=True):
        due = gaussian_delta(epsilon, MU)
        assert due * (1 - 1e-9) <= delta <= due * 1.02 + 1e-9


def test_the_trade_off_is_the_closed_form_and_never_below_it(subject):
    curve = subject().facts.curve
    for false_alarms, hits in curve.hit_rates:
        due = norm.cdf(norm.ppf(false_alarms) + MU)
        assert due - 1e-9 <= hits <= due + 0.01
    assert curve.highest_hit_rate(1.0) == pytest.approx(1.0)
    assert curve.highest_hit_rate(0.0) == pytest.approx(curve.deltas[-1])


def test_the_line_about_candidates_is_the_smallest_bound_on_the_curve(subject):
    facts = subject().facts
    epsilons = [number / 1000 * math.log(100) for number in range(1001)]
    due = min(math.exp(epsilon) / 100 + gaussian_delta(epsilon, MU) for epsilon in epsilons)
    assert facts.candidate_success == pytest.approx(due, rel=5e-3)


def test_a_person_with_several_images_is_promised_as_much_less(subject):
    groups = subject().facts.groups
    assert [group.units for group in groups] == [2, 5, 10]
    for group in groups:
        assert group.epsilon == pytest.approx(gaussian_epsilon(group.units * MU), rel=3e-3)
        assert group.candidate_success >= subject().facts.candidate_success


def test_local_noise_faces_everybody_whoever_was_there(subject):
    cohorts = subject().facts.cohorts
    assert [(cohort.hospitals, cohort.rounds) for cohort in cohorts] == [
        (("A", "B"), 1),
        (("A", "B", "C"), 1),
    ]
    for cohort in cohorts:
        assert {cohort.opened, cohort.before_colluders, cohort.before_all_others} == {ENOUGH_NOISE}
        assert cohort.enough


def shared(subject, study):
    """The facts of the same rounds if their noise had been shared."""
    run = replace(subject.run, study=study)
    return facts_of(run, (), replace(subject.verdict, charged=()))


def test_shared_noise_is_counted_by_who_was_there(subject):
    facts = shared(subject(), small_study(FULL_BATCH, *DISTRIBUTED))
    two, three = facts.cohorts
    # Two of three must come: each share has half of the variance that is due, and a little for rounding.
    share = ((ENOUGH_NOISE * 4096) ** 2 + 9) / 2
    assert two.opened == two.before_colluders == pytest.approx(ENOUGH_NOISE, abs=1e-9)
    assert three.opened == pytest.approx(math.sqrt(3 * share - 9) / 4096)
    assert three.before_one == pytest.approx(ENOUGH_NOISE)
    assert two.before_one == two.before_all_others == pytest.approx(math.sqrt(share - 9) / 4096)
    assert two.enough
    assert three.enough


def test_a_sum_of_too_few_shares_is_not_enough(subject):
    one = subject()
    lines = tuple(
        msgspec.structs.replace(line, cohort=("A",)) if isinstance(line, RoundEnded) else line
        for line in one.run.lines
    )
    facts = shared(replace(one, run=replace(one.run, lines=lines)), small_study(FULL_BATCH, *DISTRIBUTED))
    (cohort,) = facts.cohorts
    assert not cohort.enough
    assert cohort.opened < ENOUGH_NOISE


def test_who_took_part_and_what_their_journals_say(subject):
    participation = subject().facts.participation
    assert [line.parts for line in participation.rounds] == [
        (Part.IN_SUM, Part.IN_SUM, Part.IN_SUM),
        (Part.IN_SUM, Part.IN_SUM, Part.ABSENT),
    ]
    assert participation.rounds[1].missing(("A", "B", "C")) == (("C", "not there"),)
    assert all(line.began_unix_s > 1_600_000_000 for line in participation.rounds)
    a, _, c = participation.hospitals
    assert (a.declared_units, a.rounds_in_sum, a.rounds_asked) == (100, 2, 2)
    assert (a.journal.charges, a.journal.vectors, a.journal.receipts) == (2, 2, 2)
    assert (c.rounds_in_sum, c.journal.charges, c.journal.charges_in_other_runs) == (1, 1, 0)
    assert a.journal.epsilon == subject().facts.spent.pld
    assert len(bytes.fromhex(a.journal.head)) == 32


def test_a_round_that_was_cut_short_is_charged_and_nobody_knows_who_took_part(subject, packed):
    cut = packed.entries[ROUNDS] + b'{"event":"started","round":3}\n'
    facts = subject({ROUNDS: cut}).facts
    assert (facts.charged, facts.complete, facts.failed) == (3, 2, 1)
    assert set(facts.participation.rounds[2].parts) == {Part.UNKNOWN}
    assert facts.course[-1].round == 3


def test_without_journals_no_time_is_known(subject, packed):
    none = {path: None for path in packed.entries if path.startswith("journals/")}
    participation = subject(none).facts.participation
    assert {line.began_unix_s for line in participation.rounds} == {None}
    assert {hospital.journal for hospital in participation.hospitals} == {None}


def test_a_long_run_is_drawn_from_25_points_with_both_ends(subject):
    one = subject()
    lines = tuple(RoundStarted(number) for number in range(1, 101))
    study = small_study(FULL_BATCH, ("rounds = 4", "rounds = 100"))
    facts = facts_of(replace(one.run, study=study, lines=lines), (), replace(one.verdict, charged=()))
    assert len(facts.course) == 25
    assert (facts.course[0].charged, facts.course[-1].charged) == (1, 100)
