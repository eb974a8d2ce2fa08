"""Two rounds whose cohorts differ by one hospital: the difference of the sums is that hospital's update.

Masks cannot stop this, both sums are honest. What does: a study with ``dropouts = 0`` fixes the cohort,
and every hospital refuses any other; with dropouts allowed, the noise of each round and its charge to
the budget cover it (docs/threat-model.md).
"""

import numpy as np
import pytest
from support.federation import Federation, terms_for

from fedpriv.errors import RoundFailed
from fedpriv.secagg.messages import Envelope, Stage, SurvivorList, encode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken


def difference(**numbers):
    """The sum of everybody less the sum without the victim, when updates repeat."""
    everybody = Federation(terms_for(4, round=1, **numbers))
    without = Federation(terms_for(4, round=2, **numbers))
    without.values = everybody.values
    victim = everybody.terms.hospitals[0]
    return everybody.run() - without.run({Stage.UPLOAD: [victim]}), everybody.values[victim]


def test_a_fixed_cohort_admits_no_second_sum():
    with pytest.raises(RoundFailed):
        difference(dropouts=0)


def test_hospitals_refuse_the_smaller_cohort_whatever_the_coordinator_does():
    federation = Federation(terms_for(4, dropouts=0))
    federation.exchange(federation.run_to(Stage.UPLOAD))
    smaller = SurvivorList(federation.coordinator.record.context, federation.terms.hospitals[1:])
    with pytest.raises(RuleBroken) as refused:
        federation.hospitals["h0001"].agree(Envelope(Stage.AGREE, encode(smaller)))
    assert refused.value.code is RefusalCode.COHORT_TOO_SMALL


def test_control_with_dropouts_the_difference_is_the_victims_update():
    found, update = difference(dropouts=1)
    np.testing.assert_array_equal(found, update)
