import numpy as np
import pytest
from accuracy_figures import over_images, over_repetitions, paired_tests, summary

LABELS = np.zeros(30, dtype=np.int64)


def answers(wrong):
    """Of two classes, with the first ``wrong`` of 30 images taken for the other."""
    probabilities = np.tile([1.0, 0.0], (30, 1))
    probabilities[:wrong] = [0.0, 1.0]
    return probabilities


def test_ten_images_that_only_one_method_gets_right_have_the_probability_of_ten_equal_coins():
    (row,) = paired_tests(LABELS, {"worse": [answers(10)], "better": [answers(0)]})
    assert (row["only_first"], row["only_second"]) == (0, 10)
    assert row["p"] == pytest.approx(2 * 2**-10)
    assert row["p_holm"] == row["p"]


def test_holm_multiplies_the_smallest_by_all_and_never_lets_a_larger_one_overtake():
    rows = paired_tests(LABELS, {"a": [answers(10)], "b": [answers(0)], "c": [answers(0)]})
    assert [row["p_holm"] for row in rows] == pytest.approx([3 * 2 * 2**-10, 3 * 2 * 2**-10, 1.0])


def test_a_single_run_is_paired_with_every_repetition():
    (row,) = paired_tests(LABELS, {"once": [answers(0)], "twice": [answers(2), answers(3)]})
    assert (row["only_first"], row["only_second"]) == (5, 0)


def test_the_interval_over_repetitions_is_students():
    # Student's 97.5 % quantile of two degrees of freedom is 4.302653 (any table).
    interval = over_repetitions([0.1, 0.2, 0.3])
    assert interval.mean == pytest.approx(0.2)
    assert interval.high - interval.mean == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)
    assert over_repetitions([0.7]).low == 0.7


def test_the_interval_over_images_is_wilsons():
    # (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) by hand for 8 of 10: 0.4902 to 0.9433.
    interval = over_images(0.8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_the_summary_has_the_mean_accuracy_and_the_summed_confusion():
    labels = np.array([0, 0, 1, 1])
    right = np.eye(2)[labels]
    wrong = right.copy()
    wrong[0] = [0.0, 1.0]
    found = summary(labels, [right, wrong], ("x", "y"))
    assert found["accuracy"]["mean"] == pytest.approx(0.875)
    assert found["confusion"] == [[3, 1], [0, 4]]
    assert found["classes"][0] == {"name": "x", "sensitivity": 0.75, "specificity": 1.0}
