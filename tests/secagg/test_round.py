"""The sum is exact, as integers, under every pattern of dropouts that the threshold allows."""

import itertools

import numpy as np
import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg.messages import Stage

LOSSES = (None, Stage.ADVERTISE, Stage.SHARE, Stage.UPLOAD, Stage.AGREE, Stage.UNMASK)
IN_THE_SUM = (None, Stage.AGREE, Stage.UNMASK)


def patterns(count, tolerated):
    """For each hospital the stage at which it is lost, or None; at most ``tolerated`` are lost."""
    for pattern in itertools.product(LOSSES, repeat=count):
        if sum(stage is not None for stage in pattern) <= tolerated:
            yield pattern


@pytest.mark.parametrize("count", [3, 4, 5])
def test_every_dropout_pattern_gives_the_exact_sum(count):
    terms = terms_for(count)
    for pattern in patterns(count, terms.dropouts):
        federation = Federation(terms)
        lost = {
            stage: [name for name, at in zip(terms.hospitals, pattern, strict=True) if at is stage]
            for stage in Stage
        }
        total = federation.run(lost)
        survivors = [n for n, at in zip(terms.hospitals, pattern, strict=True) if at in IN_THE_SUM]
        np.testing.assert_array_equal(total, federation.expected(survivors))
        assert federation.coordinator.record.survivors == tuple(survivors)
