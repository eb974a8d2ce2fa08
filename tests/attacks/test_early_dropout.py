"""A hospital lost while keys are exchanged must not cost the others their round."""

import numpy as np
import pytest
from support.federation import Federation, signing_key, terms_for

from fedpriv.errors import RoundFailed
from fedpriv.secagg.coordinator import CoordinatorRound
from fedpriv.secagg.messages import Stage


class NeedsEverybody(CoordinatorRound):
    """Weakened: like elsewhere, whoever advertised has to come to the end."""

    def _require(self, replies, at_least):
        del at_least
        super()._require(replies, len(self._advertisements))


@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.SHARE])
def test_the_others_finish(stage):
    federation = Federation(terms_for(5))
    lost = federation.terms.hospitals[1:3]
    total = federation.run({stage: lost})
    expected = federation.expected(set(federation.terms.hospitals) - set(lost))
    np.testing.assert_array_equal(total, expected)


def test_control_a_round_that_needs_everybody_dies():
    federation = Federation(terms_for(5))
    federation.coordinator = NeedsEverybody(
        terms=federation.terms, roster=federation.roster, signing_key=signing_key("coordinator")
    )
    with pytest.raises(RoundFailed):
        federation.run({Stage.SHARE: federation.terms.hospitals[1:3]})


@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.SHARE, Stage.UPLOAD, Stage.AGREE, Stage.UNMASK])
def test_below_the_threshold_it_fails_closed(stage):
    federation = Federation(terms_for(5))
    with pytest.raises(RoundFailed):
        federation.run({stage: federation.terms.hospitals[:3]})
    with pytest.raises(RoundFailed):
        federation.coordinator.total()
