"""The figures of a report, drawn from facts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from fedpriv.audit.report.charts import Axis, Line, line_chart
from fedpriv.audit.report.participation import Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fedpriv.audit.report.facts import Facts
    from fedpriv.audit.report.participation import HospitalFacts, RoundFacts

_HEADROOM = 1.1
_ROOM_FOR_WORDS = 1.12
_SMALLEST_DELTA = 1e-12
"""The curve is drawn down to here; below it numbers are dominated by how finely the accountant cuts."""

_MARKS = {
    Part.IN_SUM: "full",
    Part.CHARGED: "half",
    Part.LEFT: "ring",
    Part.ABSENT: "dot",
    Part.UNKNOWN: "cross",
}
_CELL, _LINE, _TOP, _LETTER_WIDTH = 11, 14, 16, 5.4
_ROUNDS_A_STRIP = 45
_LABEL_EVERY = 5


def epsilon_over_rounds(facts: Facts) -> Markup | None:
    """What was spent after each charged round, by both accountants; None if nothing finite was."""
    if not facts.private or not facts.course:
        return None
    last = facts.course[-1]
    pld = [(0.0, 0.0), *((float(point.charged), point.epsilon.pld) for point in facts.course)]
    rdp = [(0.0, 0.0), *((float(point.charged), point.epsilon.rdp) for point in facts.course)]
    return line_chart(
        f"Epsilon rises to {last.epsilon.pld:.4g} by PLD and {last.epsilon.rdp:.4g} by RDP "
        f"after {last.charged} charged rounds",
        Axis("charged rounds", 0.0, last.charged * _ROOM_FOR_WORDS, whole=True),
        Axis("epsilon", 0.0, last.epsilon.rdp * _HEADROOM),
        [Line("PLD (reported)", pld), Line("RDP (checks it)", rdp)],
        [(float(last.charged), last.epsilon.pld, f"{last.epsilon.pld:.3f}")],
    )


def privacy_curve(facts: Facts, delta: float) -> Markup | None:
    """Delta over epsilon, the claim marked; None if nothing was hidden."""
    if not facts.private:
        return None
    curve = facts.curve
    points = [
        (epsilon, loss)
        for epsilon, loss in zip(curve.epsilons, curve.deltas, strict=True)
        if loss > _SMALLEST_DELTA
    ]
    if not points:
        return None
    lowest = 10.0 ** min(-1, _floor_decade(min(*(loss for _, loss in points), delta)))
    return line_chart(
        f"Delta falls with epsilon; at epsilon {facts.spent.pld:.4g} it is {delta:g}",
        Axis("epsilon", 0.0, curve.epsilons[-1]),
        Axis("delta", lowest, 1.0, log=True),
        [Line("delta", points)],
        [(facts.spent.pld, delta, f"the claim: {facts.spent.pld:.3f} at {delta:g}")],
    )


def trade_off(facts: Facts) -> Markup | None:
    """How often an attacker can be right about somebody, for each rate of false alarms; beside guessing."""
    if not facts.private:
        return None
    hits = [(0.0, facts.curve.highest_hit_rate(0.0)), *facts.curve.hit_rates]
    return line_chart(
        "The highest rate of hits at each rate of false alarms, above the diagonal of guessing",
        Axis("false alarms (share of people who were not in)", 0.0, 1.0),
        Axis("hits (share of those who were)", 0.0, 1.0),
        [Line("the most that is possible", hits), Line("guessing", [(0.0, 0.0), (1.0, 1.0)])],
    )


def participation(facts: Facts) -> list[Markup]:
    """Who took part in which round: a strip of at most 45 rounds each, hospitals below each other."""
    rounds, hospitals = facts.participation.rounds, facts.participation.hospitals
    return [
        _strip(rounds[start : start + _ROUNDS_A_STRIP], hospitals)
        for start in range(0, len(rounds), _ROUNDS_A_STRIP)
    ]


def participation_key() -> list[tuple[Markup, str]]:
    """Each sign of the strips, and what it means."""
    return [
        (
            Markup(
                '<svg class="sign" viewBox="0 0 {0} {0}" xmlns="http://www.w3.org/2000/svg">{1}</svg>'
            ).format(_CELL, _sign(part, 0, 0)),
            part.value,
        )
        for part in Part
    ]


def _strip(rounds: Sequence[RoundFacts], hospitals: Sequence[HospitalFacts]) -> Markup:
    """Drawn at its natural size, so that three rounds do not fill a page; long ones shrink to the paper."""
    names_width = round(_LETTER_WIDTH * max(len(hospital.name) for hospital in hospitals)) + 8
    width, height = names_width + len(rounds) * _CELL + 8, _TOP + len(hospitals) * _LINE + 2
    return Markup(
        '<svg class="strip" width="{0}" viewBox="0 0 {0} {1}" role="img" '
        'aria-label="Rounds {2} to {3}: who took part" xmlns="http://www.w3.org/2000/svg">{4}</svg>'
    ).format(
        width,
        height,
        rounds[0].number,
        rounds[-1].number,
        Markup("").join(_cells(rounds, hospitals, names_width)),
    )


def _cells(
    rounds: Sequence[RoundFacts], hospitals: Sequence[HospitalFacts], names_width: int
) -> Iterator[Markup]:
    for column, line in enumerate(rounds):
        left = names_width + column * _CELL
        if column == 0 or line.number % _LABEL_EVERY == 0:
            yield Markup('<text class="small" x="{}" y="10" text-anchor="middle">{}</text>').format(
                left + _CELL / 2, line.number
            )
        for row, part in enumerate(line.parts):
            yield _sign(part, left, _TOP + row * _LINE)
    for row, hospital in enumerate(hospitals):
        yield Markup('<text class="small" x="0" y="{}">{}</text>').format(
            _TOP + row * _LINE + 9, hospital.name
        )


def _sign(part: Part, left: float, top: float) -> Markup:
    middle, half = _CELL / 2, (_CELL - 2) / 2
    match _MARKS[part]:
        case "full":
            shape = Markup('<rect class="full" x="{}" y="{}" width="{}" height="{}"/>').format(
                left + 1, top + 1, _CELL - 2, _CELL - 2
            )
        case "half":
            shape = Markup(
                '<path class="ring" d="M{0} {1}h{2}v{2}h-{2}z"/><path class="full" d="M{0} {1}v{2}h{2}z"/>'
            ).format(left + 1, top + 1, _CELL - 2)
        case "ring":
            shape = Markup('<circle class="ring" cx="{}" cy="{}" r="{}"/>').format(
                left + middle, top + middle, half - 1
            )
        case "dot":
            shape = Markup('<circle class="dot" cx="{}" cy="{}" r="1.2"/>').format(
                left + middle, top + middle
            )
        case _:
            shape = Markup('<path class="ring" d="M{0} {1}l{2} {2}m0 -{2}l-{2} {2}"/>').format(
                left + 2, top + 2, _CELL - 4
            )
    return shape


def _floor_decade(value: float) -> int:
    """The power of ten at or below ``value``."""
    return int(f"{value:e}".rpartition("e")[2])
