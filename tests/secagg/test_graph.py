"""The sparse graph: symmetric, regular, and its numbers against an independent count of tails."""

import pytest
from scipy import stats

from fedpriv.secagg.graph import (
    FAILURE_BITS,
    GRINDING_BITS,
    SECURITY_BITS,
    Graph,
    _quantile,
    sparse_parameters,
)

CASES = [(101, 1, 10), (120, 2, 20), (300, 10, 30), (1000, 50, 100), (1000, 0, 100)]


@pytest.mark.parametrize("n", [3, 4, 7, 100])
def test_everybody_is_joined_with_everybody_in_a_complete_graph(n):
    names = tuple(f"h{i:03d}" for i in range(n))
    complete = Graph(names, reach=n // 2, threshold=2)
    for name in names:
        assert set(complete.neighbours(name)) == set(names) - {name}


def test_a_sparse_graph_is_regular_and_symmetric():
    names = tuple(f"h{i:03d}" for i in range(31))
    sparse = Graph(names, reach=4, threshold=5)
    for name in names:
        assert len(sparse.neighbours(name)) == 8
        assert all(name in sparse.neighbours(peer) for peer in sparse.neighbours(name))
        assert list(sparse.neighbours(name)) == sorted(sparse.neighbours(name))


@pytest.mark.parametrize(("n", "colluders", "dropouts"), CASES)
def test_the_tails_hold(n, colluders, dropouts):
    """Recomputed with scipy's hypergeometric distribution instead of exact integers."""
    degree, threshold = sparse_parameters(n, colluders, dropouts)
    around = stats.hypergeom(n - 1, colluders, degree)
    one_side = stats.hypergeom(n - 1, colluders, degree // 2)
    missing = stats.hypergeom(n - 1, dropouts, degree)
    budget = 2.0 ** -(SECURITY_BITS + GRINDING_BITS)
    assert n * around.sf(2 * threshold - degree - 2) <= budget  # P[m + C >= 2 t]
    assert 2 * n * one_side.sf(threshold - degree // 2 - 2) <= budget  # P[k/2 + 1 + C_h >= t]
    assert n * missing.sf(degree - threshold) <= 2.0**-FAILURE_BITS  # P[fewer than t are left]


def test_known_parameters():
    assert [sparse_parameters(*case) for case in CASES] == [
        (26, 16),
        (44, 26),
        (64, 44),
        (152, 114),
        (40, 22),
    ]


@pytest.mark.parametrize("odds", [10, 10**6, 10**12])
def test_the_quantile_is_the_smallest_one(odds):
    x = _quantile(200, 20, 30, odds)
    distribution = stats.hypergeom(200, 20, 30)
    assert distribution.sf(x) < 1 / odds <= distribution.sf(x - 1)
