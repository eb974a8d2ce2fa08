"""Line charts as inline SVG: a frame, two axes, lines told apart by dashes, marked points.

A plotting library would bring fonts, identifiers and dates of its own into a file that must be the same for
the same bundle and must refer to nothing outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _HEIGHT = 640, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 44
_TICKS = 6
_LETTER_WIDTH = 6.2
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_DECADES_BETWEEN = 8
_CLASSES = ("line-a", "line-b", "line-c")


@dataclass(frozen=True, slots=True)
class Axis:
    """From ``low`` to ``high``, which differ; both above 0 if ``log``. ``whole``: ticks at integers only."""

    label: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def place(self, value: float) -> float:
        """Where ``value`` lies, as a share of the axis; values outside lie at its ends."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """Round values, about six of them."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            decades = (last - first) // _MOST_DECADES_BETWEEN + 1
            return [10.0**power for power in range(first, last + 1, decades)]
        rough = (self.high - self.low) / _TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in _STEPS if unit * factor >= rough * (1 - 1e-9))
        if self.whole:
            step = float(math.ceil(step))
        start, end = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * count for count in range(start, end + 1)]


@dataclass(frozen=True, slots=True)
class Line:
    """``points`` (x, y) in order."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(
    description: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    marks: Sequence[tuple[float, float, str]] = (),
) -> Markup:
    """A chart; ``marks`` are points (x, y) with words, ``description`` is for who cannot see it."""
    parts = [_frame(x, y)]
    for number, line in enumerate(lines):
        corners = [_corner(x, y, *point) for point in line.points]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in corners)
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(_CLASSES[number], path))
    for across, up, words in marks:
        left, top = _corner(x, y, across, up)
        fits = left + 8 + _LETTER_WIDTH * len(words) <= _WIDTH
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4"/><text x="{:.1f}" y="{:.1f}"{}>{}</text>').format(
                left,
                top,
                left + (8 if fits else -8),
                max(top - 5, _TOP + 12),
                "" if fits else Markup(' text-anchor="end"'),
                words,
            )
        )
    if len(lines) > 1:
        parts.append(_legend([line.name for line in lines]))
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">'
        "{}</svg>"
    ).format(_WIDTH, _HEIGHT, description, Markup("").join(parts))


def _corner(x: Axis, y: Axis, across: float, up: float) -> tuple[float, float]:
    return (
        _LEFT + x.place(across) * (_WIDTH - _LEFT - _RIGHT),
        _HEIGHT - _BOTTOM - y.place(up) * (_HEIGHT - _TOP - _BOTTOM),
    )


def _frame(x: Axis, y: Axis) -> Markup:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y.ticks:
        _, top = _corner(x, y, x.low, tick)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/>'
                '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(_LEFT, top, right, top, _LEFT - 8, top + 4, _label(tick, log=y.log))
        )
    for tick in x.ticks:
        left, _ = _corner(x, y, tick, y.low)
        parts.append(
            Markup(
                '<line class="tick" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/>'
                '<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>'
            ).format(left, bottom, left, bottom + 5, left, bottom + 18, _label(tick, log=x.log))
        )
    parts.append(
        Markup(
            '<path class="axis" d="M{} {}V{}H{}"/>'
            '<text class="axis-name" x="{}" y="{}" text-anchor="middle">{}</text>'
            '<text class="axis-name" transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>'
        ).format(
            _LEFT,
            _TOP,
            bottom,
            right,
            (_LEFT + right) / 2,
            _HEIGHT - 6,
            x.label,
            (_TOP + bottom) / 2,
            y.label,
        )
    )
    return Markup("").join(parts)


def _legend(names: Sequence[str]) -> Markup:
    parts = []
    for number, name in enumerate(names):
        top = _TOP + 14 + 17 * number
        parts.append(
            Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/><text x="{}" y="{}">{}</text>').format(
                _CLASSES[number], _LEFT + 12, top, _LEFT + 42, top, _LEFT + 48, top + 4, name
            )
        )
    return Markup("").join(parts)


def _label(value: float, *, log: bool) -> Markup:
    """A power of ten on a logarithmic axis, a plain number on another."""
    if log:
        return Markup('10<tspan dy="-5" class="power">{}</tspan>').format(round(math.log10(value)))
    return Markup("{}").format(f"{value:.6g}")
