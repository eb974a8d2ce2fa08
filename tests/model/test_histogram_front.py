import numpy as np
import pytest

from fedpriv.legacy_keras import tf
from fedpriv.model.histogram_front import CELL, WINDOW, HistogramFront, cell_histograms

FEATURES = 32
SINGLE, JOINT = 32, 16


def random_images(count, size=64):
    return np.random.default_rng(count).random((count, size, size, 3), dtype=np.float32)


def plain_image(*colour, size=64):
    return np.full((1, size, size, 3), colour, np.float32)


def test_the_front_is_the_same_constants_for_everybody():
    front, images = HistogramFront(FEATURES), random_images(2)
    first = front(images).numpy()
    assert front.weights == []
    np.testing.assert_array_equal(HistogramFront(FEATURES)(images), first)
    assert first.shape == (2, 64 // CELL - WINDOW + 1, 64 // CELL - WINDOW + 1, FEATURES)


@pytest.mark.parametrize("size", [16, 20, 56, 100])
def test_any_size_of_image_has_at_least_one_window(size):
    maps = HistogramFront(FEATURES)(random_images(1, size)).numpy()
    assert min(maps.shape[1:3]) == max(1, size // CELL - WINDOW + 1)
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (1, 1, 1), (1, 0, 1), (0, 1, 0)])
def test_extreme_images_have_finite_features_of_bounded_length(colour):
    maps = HistogramFront(FEATURES)(plain_image(*colour)).numpy()
    assert np.isfinite(maps).all()
    assert np.linalg.norm(maps, axis=-1).max() <= np.sqrt(2) + 1e-5


def test_the_histograms_of_a_cell_add_up_to_one():
    histograms = cell_histograms(tf.constant(random_images(3))).numpy()
    assert histograms.min() >= 0
    np.testing.assert_allclose(histograms.sum(axis=-1), 1.0, atol=1e-5)


def test_a_plain_colour_fills_the_bins_where_it_lies():
    # All three colours lie half way along their axes: half of each of the middle two of 32 (or 16) bins.
    green = (3 * 0.55 - 0.2 - 0.2) / 3
    histograms = cell_histograms(tf.constant(plain_image(green + 0.2, green, green + 0.2))).numpy()[0, 0, 0]
    for axis in range(3):
        bins = histograms[SINGLE * axis : SINGLE * (axis + 1)]
        assert set(np.flatnonzero(bins > 1e-4)) == {15, 16}
        assert bins.sum() == pytest.approx(0.4 / 3, abs=1e-5)
    joint = histograms[3 * SINGLE : 3 * SINGLE + JOINT**2].reshape(JOINT, JOINT)
    np.testing.assert_allclose(joint[7:9, 7:9], 0.1, atol=1e-4)
    grain = histograms[3 * SINGLE + JOINT**2 :].reshape(6, -1)
    np.testing.assert_allclose(grain[:, 0], 0.2 / 6, atol=1e-3)


def test_joint_bins_are_the_mean_product_of_memberships_in_the_cell():
    image = random_images(1)
    joint = cell_histograms(tf.constant(image)).numpy()[0, 2, 5, 3 * SINGLE : 3 * SINGLE + JOINT**2]
    red, green, blue = np.moveaxis(image[0, 16:24, 40:48].reshape(-1, 3).astype(np.float64), 1, 0)
    expected = np.zeros((JOINT, JOINT))
    for first, second in zip(red - green, (red + green) / 2 - blue, strict=True):
        expected += np.outer(memberships(first, -0.1, 0.5), memberships(second, -0.4, 0.2)) / 64
    np.testing.assert_allclose(joint.reshape(JOINT, JOINT), 0.4 * expected, atol=1e-5)


def memberships(value, lowest, highest):
    place = (np.clip(value, lowest, highest) - lowest) / (highest - lowest) * (JOINT - 1)
    return np.maximum(0, 1 - np.abs(place - np.arange(JOINT)))


def test_maps_follow_the_image_when_it_is_turned():
    images = random_images(1)
    maps = HistogramFront(FEATURES)(images).numpy()
    np.testing.assert_allclose(HistogramFront(FEATURES)(images[:, ::-1]).numpy(), maps[:, ::-1], atol=1e-3)
    np.testing.assert_allclose(
        HistogramFront(FEATURES)(images.transpose(0, 2, 1, 3)).numpy(), maps.transpose(0, 2, 1, 3), atol=1e-3
    )


def test_one_image_has_no_influence_on_the_features_of_another():
    images = random_images(3)
    together = HistogramFront(FEATURES)(images).numpy()
    np.testing.assert_allclose(HistogramFront(FEATURES)(images[1:2]).numpy()[0], together[1], atol=1e-4)
