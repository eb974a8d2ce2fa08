"""Axes have round numbers, and points lie where they belong."""

import re

import pytest

from fedpriv.audit.report.charts import Axis, Line, line_chart


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("", 0.0, 1.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis("", 0.0, 9.1), [0.0, 2.0, 4.0, 6.0, 8.0]),
        (Axis("", 0.0, 2.24, whole=True), [0.0, 1.0, 2.0]),
        (Axis("", 0.0, 112.0, whole=True), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]),
        (Axis("", 1e-3, 1.0, log=True), [1e-3, 1e-2, 1e-1, 1.0]),
        (Axis("", 1e-12, 1.0, log=True), [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0]),
    ],
)
def test_ticks_are_round(axis, ticks):
    assert axis.ticks == pytest.approx(ticks)


def test_a_value_outside_lies_at_the_end():
    axis = Axis("", 1e-4, 1.0, log=True)
    assert [axis.place(value) for value in (0.0, 1e-4, 1e-2, 1.0, 9.0)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_points_rise_with_their_values_and_words_are_escaped():
    chart = line_chart(
        "<what>",
        Axis("x", 0.0, 10.0),
        Axis("y", 0.0, 1.0),
        [Line("a", [(0, 0), (5, 0.5), (10, 1)])],
        [(5, 0.5, "<b>")],
    )
    (path,) = re.findall(r'points="([^"]*)"', chart)
    corners = [tuple(map(float, corner.split(","))) for corner in path.split()]
    (left, low), (middle, half), (right, high) = corners
    assert left < middle < right
    assert low > half > high
    assert middle == pytest.approx((left + right) / 2)
    assert half == pytest.approx((low + high) / 2)
    assert "&lt;b&gt;" in chart
    assert "<what>" not in chart


def test_words_near_the_frame_end_before_it():
    axes = Axis("x", 0.0, 10.0), Axis("y", 0.0, 1.0)
    near = line_chart("", *axes, [Line("a", [(0, 0), (10, 1)])], [(9.9, 0.5, "a long remark")])
    far = line_chart("", *axes, [Line("a", [(0, 0), (10, 1)])], [(1.0, 0.5, "a long remark")])
    assert 'text-anchor="end">a long remark' in near
    assert 'text-anchor="end">a long remark' not in far
