import pytest
from scipy import stats

from fedpriv.audit.attack.row import FALSE_ALARM, least_rate


@pytest.mark.parametrize(("hits", "trials"), [(1, 10), (3, 10), (10, 10), (7, 40)])
def test_the_least_rate_is_where_so_many_hits_become_a_false_alarm(hits, trials):
    assert stats.binom.sf(hits - 1, trials, least_rate(hits, trials)) == pytest.approx(FALSE_ALARM)


def test_no_hit_proves_nothing():
    assert least_rate(0, 10) == 0
