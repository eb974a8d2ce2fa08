import numpy as np
import pytest

from fedpriv.model.evaluate import predict
from fedpriv.model.evidence_map import GRID, Place, evidence_map, plain_field, plasma_colour, strongest_place
from fedpriv.model.network import build_network
from fedpriv.model.weights import dimension, from_vector
from fedpriv.study import NetworkName

SIZE = 64
SQUARE = SIZE // GRID
PLASMA = np.array([0.92, 0.85, 0.80], dtype=np.float32)
NUCLEUS = np.array([0.35, 0.15, 0.55], dtype=np.float32)


def field(*cells, radius=3):
    """A plain field with a purple disc in the middle of each of the squares (row, column)."""
    image = np.tile(PLASMA, (SIZE, SIZE, 1))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for row, column in cells:
        distance = np.hypot(rows - (row + 0.5) * SQUARE + 0.5, columns - (column + 0.5) * SQUARE + 0.5)
        image[distance <= radius] = NUCLEUS
    return image


@pytest.fixture(scope="module", params=[NetworkName.SMEAR_CNN, NetworkName.HISTOGRAM_CNN])
def network(request):
    model = build_network(request.param, image_size=SIZE, classes=4)
    from_vector(model, np.random.default_rng(3).normal(0, 0.5, dimension(model)).astype(np.float32))
    return lambda images: predict(model, images)


def log_odds(probabilities, number):
    return np.log(probabilities[number]) - np.log(np.delete(probabilities, number).sum())


def test_the_evidence_of_the_shipped_networks_adds_up_to_their_log_odds(network):
    image = field((1, 1), (2, 6), (6, 3), radius=6)
    full, empty = network(np.stack([image, plain_field(image)]))
    for number in range(4):
        evidence = evidence_map(network, image, number)
        assert evidence.sum() == pytest.approx(log_odds(full, number) - log_odds(empty, number), abs=1e-5)
        assert np.abs(evidence).max() > 1e-3


def test_evidence_lies_where_the_cell_is_and_moves_with_it(network):
    for square in ((1, 1), (6, 2), (3, 5)):
        evidence = evidence_map(network, field(square), 0)
        assert evidence[square] != 0
        evidence[square] = 0
        assert not evidence.any()  # plain squares have none, to the last bit


def test_the_covered_corner_is_no_evidence(network):
    image = field((2, 2))
    image[-11:, -11:] = 1.0
    evidence = evidence_map(network, image, 1)
    assert evidence[2, 2] != 0
    assert not evidence[6:, 6:].any()


def test_the_same_image_has_the_same_map(network):
    image = field((1, 1), (2, 6), radius=6)
    np.testing.assert_array_equal(evidence_map(network, image, 2), evidence_map(network, image, 2))


def darkness(images):
    """Two classes whose log-odds are the mean darkness: each square speaks for itself alone."""
    logit = 40 * (1 - images.astype(np.float64)).mean(axis=(1, 2, 3))
    return np.stack([1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))], axis=1)


def test_where_squares_do_not_interact_each_gets_exactly_what_it_adds():
    image = np.random.default_rng(0).random((SIZE, SIZE, 3), dtype=np.float32)
    squares = (plasma_colour(image) - image).reshape(GRID, SQUARE, GRID, SQUARE, 3)
    expected = 40 * squares.sum(axis=(1, 3, 4)) / image.size
    np.testing.assert_allclose(evidence_map(darkness, image, 0), expected, atol=1e-6)
    np.testing.assert_allclose(evidence_map(darkness, image, 1), -expected, atol=1e-6)


def test_two_squares_that_say_the_same_share_it_equally():
    def any_cell(images):  # one cell is enough, a second adds nothing: order decides who gets it
        found = (images.mean(axis=3) < 0.5).any(axis=(1, 2))
        first = np.where(found, 0.9, 0.1)
        return np.stack([first, 1 - first], axis=1)

    evidence = evidence_map(any_cell, field((1, 1), (6, 6)), 0)
    assert evidence[1, 1] == pytest.approx(evidence[6, 6])
    assert evidence.sum() == pytest.approx(2 * np.log(9))


def test_an_image_is_shown_to_the_network_in_one_batch():
    calls = []
    evidence_map(lambda images: calls.append(len(images)) or darkness(images), field((4, 4)), 0)
    assert calls == [2 + 2 * (GRID**2 - 1)]


@pytest.mark.parametrize(
    ("squares", "place"),
    [
        ([(0, 0)], Place.UPPER_LEFT),
        ([(0, 4)], Place.UPPER_MIDDLE),
        ([(1, 7)], Place.UPPER_RIGHT),
        ([(4, 0), (3, 1)], Place.MIDDLE_LEFT),
        ([(3, 3), (4, 4)], Place.CENTRE),
        ([(4, 7)], Place.MIDDLE_RIGHT),
        ([(7, 1)], Place.LOWER_LEFT),
        ([(6, 3)], Place.LOWER_MIDDLE),
        ([(7, 7)], Place.LOWER_RIGHT),
        ([(0, 0), (0, 7), (7, 0), (7, 7), (0, 4)], Place.SPREAD),
        ([], Place.NOWHERE),
    ],
)
def test_the_strongest_place_is_named(squares, place):
    evidence = np.full((GRID, GRID), -0.1)
    for square in squares:
        evidence[square] = 1.0
    assert strongest_place(evidence) is place
