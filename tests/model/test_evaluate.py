import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.model.evaluate import evaluate, predict, wilson_interval
from fedpriv.model.network import build_network
from fedpriv.study import NetworkName


def one_hot(predicted, classes, confidence=1.0):
    rest = (1 - confidence) / (classes - 1)
    return np.where(np.arange(classes) == np.array(predicted)[:, None], confidence, rest)


def test_figures_of_a_table_worked_by_hand():
    # rows: truth a a a b b c; taken for a a b b b b
    labels = np.array([0, 0, 0, 1, 1, 2])
    result = evaluate(one_hot([0, 0, 1, 1, 1, 1], 3), labels, ("a", "b", "c"))
    assert result.confusion == ((2, 1, 0), (0, 2, 0), (0, 1, 0))
    assert result.accuracy == pytest.approx(4 / 6)
    a, b, c = result.classes
    assert (a.images, a.sensitivity, a.specificity) == (3, pytest.approx(2 / 3), 1.0)
    assert (b.sensitivity, b.specificity) == (1.0, pytest.approx(0.5))
    assert (c.sensitivity, c.specificity, c.f1) == (0.0, 1.0, 0.0)
    assert result.macro_f1 == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert result.calibration_error == pytest.approx(2 / 6)


def test_a_class_without_images_has_no_sensitivity():
    result = evaluate(one_hot([0, 0], 2), np.array([0, 0]), ("a", "b"))
    assert result.classes[1].sensitivity is None
    assert result.classes[0].specificity is None


def test_confidence_that_matches_accuracy_is_calibrated():
    predicted = np.zeros(1000, dtype=int)
    labels = np.array([0] * 800 + [1] * 200)
    assert evaluate(one_hot(predicted, 2, 0.8), labels, ("a", "b")).calibration_error == pytest.approx(
        0, abs=1e-9
    )
    assert evaluate(one_hot(predicted, 2, 0.95), labels, ("a", "b")).calibration_error == pytest.approx(0.15)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_accuracy_is_the_diagonal_and_rows_add_up(pairs):
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    result = evaluate(one_hot(predicted, 4, 0.7), labels, tuple("abcd"))
    confusion = np.array(result.confusion)
    assert confusion.sum() == result.images == len(pairs)
    assert result.accuracy == pytest.approx(np.trace(confusion) / len(pairs))
    assert [figures.images for figures in result.classes] == confusion.sum(axis=1).tolist()
    assert 0 <= result.calibration_error <= 1


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(ValueError, match="no images"):
        evaluate(np.zeros((0, 2)), np.zeros(0, dtype=int), ("a", "b"))


def test_probabilities_add_up_and_do_not_depend_on_the_batch():
    model = build_network(NetworkName.SMEAR_CNN, image_size=16, classes=4)
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0, 1, weight.shape))
    images = generator.random((70, 16, 16, 3), dtype=np.float32)
    probabilities = predict(model, images)
    assert probabilities.shape == (70, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(predict(model, images[65:66])[0], probabilities[65], rtol=1e-3, atol=1e-6)


def test_wilsons_interval_is_that_of_published_tables():
    # Newcombe 1998, table I, method 3 (score without continuity correction).
    for hits, images, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        assert wilson_interval(hits / images, images) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(1.0, 29)[1] == 1.0
