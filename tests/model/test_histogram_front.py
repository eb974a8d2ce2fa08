import numpy as np
import pytest

from fedpriv.legacy_keras import tf
from fedpriv.model.histogram_front import CELL, WINDOW, HistogramFront, cell_histograms

FEATURES = 32
SINGLE, JOINT, GRAIN_PLACES, GRAIN = 32, 16, 8, 16
GRAIN_AT = 3 * SINGLE + 2 * JOINT**2


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
    np.testing.assert_allclose(joint[7:9, 7:9], 0.05, atol=1e-4)
    joint = histograms[3 * SINGLE + JOINT**2 : GRAIN_AT].reshape(JOINT, JOINT)
    np.testing.assert_allclose(joint[7:9, 7:9], 0.05, atol=1e-4)
    grain = histograms[GRAIN_AT:].reshape(3, GRAIN_PLACES, GRAIN)
    np.testing.assert_allclose(grain[:, 3:5, 0], 0.2 / 3 / 2, atol=1e-3)


def test_joint_bins_are_the_mean_product_of_memberships_in_the_cell():
    image = random_images(1)
    histograms = cell_histograms(tf.constant(image)).numpy()[0, 2, 5]
    opponents, warmth = histograms[3 * SINGLE : GRAIN_AT].reshape(2, JOINT, JOINT)
    red, green, blue = np.moveaxis(image[0, 16:24, 40:48].reshape(-1, 3).astype(np.float64), 1, 0)
    reds = memberships(red - green, -0.1, 0.5)
    yellows = memberships((red + green) / 2 - blue, -0.4, 0.2)
    lights = memberships((red + green + blue) / 3, 0.1, 1.0)
    np.testing.assert_allclose(opponents, 0.2 * reds.T @ yellows / 64, atol=1e-5)
    np.testing.assert_allclose(warmth, 0.2 * lights.T @ reds / 64, atol=1e-5)


def memberships(values, lowest, highest):
    places = (np.clip(values, lowest, highest) - lowest) / (highest - lowest) * (JOINT - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(JOINT)))


def test_grain_is_counted_where_its_brightness_lies():
    # Dark stripes on the left, plain light on the right: only dark cells have grain.
    grey = np.full((64, 64), 0.8, np.float32)
    grey[:, :32] = np.where(np.arange(32) % 2, 0.1, 0.3)
    histograms = cell_histograms(tf.constant(np.repeat(grey[None, :, :, None], 3, axis=3))).numpy()[0, 4]
    finest = histograms[:, GRAIN_AT:].reshape(8, 3, GRAIN_PLACES, GRAIN)[:, 0]
    np.testing.assert_allclose(finest.sum(axis=(1, 2)), 0.2 / 3, atol=1e-5)
    striped, plain = finest[1], finest[6]
    assert striped[:3, 5:].sum() == pytest.approx(0.2 / 3, abs=1e-4)
    assert plain[4:, 0].sum() == pytest.approx(0.2 / 3, rel=0.01)


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
