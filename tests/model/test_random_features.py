import numpy as np
import pytest
from scipy import stats

from fedpriv.model.random_features import random_projection

# From the same raw stream by Python integers and statistics.NormalDist.
FIRST_NORMALS = (0.80413108, -0.95996959, 0.25380406, -1.55769255)
FIRST_PHASES = (2.66141057, 4.10548427)


def test_the_numbers_never_change():
    projection, phases = random_projection(3, 2)
    np.testing.assert_allclose(projection.ravel()[:4], FIRST_NORMALS, rtol=1e-6)
    np.testing.assert_allclose(phases, FIRST_PHASES, rtol=1e-6)


def test_projections_are_standard_normal_and_phases_uniform():
    projection, phases = random_projection(200, 500)
    # The seed is fixed, so these p-values are too: far from both ends.
    assert stats.kstest(projection.ravel(), "norm").pvalue > 0.01
    assert stats.kstest(phases / (2 * np.pi), "uniform").pvalue > 0.01


@pytest.mark.parametrize("distance", [0.0, 0.3, 0.7, 1.4])
def test_inner_products_of_cosines_are_near_the_gaussian_kernel(distance):
    features, sharpness = 20_000, 3.0
    projection, phases = random_projection(16, features)
    rng = np.random.default_rng(1)
    direction = rng.normal(size=16)
    first = rng.normal(size=16)
    second = first + distance * direction / np.linalg.norm(direction)
    one, other = (
        np.sqrt(2 / features) * np.cos(sharpness * point @ projection + phases) for point in (first, second)
    )
    # A term lies in [-2, 2], so the mean of 20,000 has a standard deviation of at most 0.014.
    assert one @ other == pytest.approx(np.exp(-((sharpness * distance) ** 2) / 2), abs=0.06)
