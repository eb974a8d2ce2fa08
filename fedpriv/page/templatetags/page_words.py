"""What templates need to put codes and numbers into words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext

from fedpriv.page import words
from fedpriv.page.responses import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.model.evidence_map import Place
    from fedpriv.page.reading import CannotTell, Probability, Refusal

register = template.Library()

_MINUTE_S, _HOUR_S = 60, 3600
_CERTAIN = 0.995
_NEVER = 0.005


@register.filter
def class_name(name: str) -> str:
    """A class as doctors call it."""
    return str(words.CLASSES.get(name, name))


@register.filter
def cannot_tell(code: CannotTell) -> str:
    """Why no class is named."""
    return str(words.CANNOT_TELL[code])


@register.filter
def refusal(code: Refusal) -> str:
    """Why an upload was not looked at, and what to do."""
    return str(words.REFUSALS[code])


@register.filter
def reason(code: str) -> str:
    """Why a whole request was turned away, and what to do."""
    return str(words.REASONS[Reason(code)])


@register.filter
def waiting(seconds: int) -> str:
    """A time to wait, in the unit that people would use."""
    if seconds < _MINUTE_S:
        return ngettext("%(count)s second", "%(count)s seconds", seconds) % {"count": seconds}
    if seconds < _HOUR_S:
        count = math.ceil(seconds / _MINUTE_S)
        return ngettext("%(count)s minute", "%(count)s minutes", count) % {"count": count}
    count = math.ceil(seconds / _HOUR_S)
    return ngettext("%(count)s hour", "%(count)s hours", count) % {"count": count}


@register.filter
def place(code: Place) -> str:
    """Where the evidence is strongest."""
    return str(words.PLACES[code])


@register.filter
def unit_word(name: str) -> str:
    """Image or patient."""
    return str(words.UNITS[name])


@register.filter
def noise_words(name: str) -> str:
    """Who adds the noise."""
    return str(words.NOISES[name])


@register.filter
def outcome_word(code: str) -> str:
    """How a round ended."""
    return str(words.OUTCOMES[code])


@register.filter
def percent(share: float) -> str:
    """A rounded probability as it may be said: never 0 or 100 of something that is only near it."""
    if share < _NEVER:
        return gettext("under 1 %")
    if share > _CERTAIN:
        return gettext("over 99 %")
    return f"{_rounded(100 * share, 0)} %"


@register.filter
def whole_percent(share: float) -> str:
    """A share that is exact, such as a threshold."""
    return f"{_rounded(100 * share, 0)} %"


@register.filter
def percent1(share: float) -> str:
    """A counted share with one decimal."""
    return f"{_rounded(100 * share, 1)} %"


@register.filter
def points(share: float) -> str:
    """A difference of shares in points of 100."""
    return _rounded(100 * share, 1)


@register.filter
def hundredfold(share: float) -> str:
    """A length on a scale of 100, for SVG: a point, whatever the language."""
    return f"{100 * share:.4g}"


@register.filter
def significant(value: float) -> str:
    """Three significant digits in the language's own way, without an exponent."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:.{max(digits, 0)}f}"
    return str(number_format(text.rstrip("0").rstrip(".") if "." in text else text))


@register.filter
def in_hundred(probabilities: Sequence[Probability]) -> str:
    """``about 87 Early Pre-B, 9 Pre-B, 4 Benign``: the counts that are not 0, the largest first."""
    counted = sorted(((round(100 * one.value), one.name) for one in probabilities), reverse=True)
    if counted[0][0] > 99:  # noqa: PLR2004
        return gettext("more than 99 %(name)s") % {"name": class_name(counted[0][1])}
    parts = [f"{count} {class_name(name)}" for count, name in counted if count]
    return gettext("about %(counts)s") % {"counts": ", ".join(parts)}


def _rounded(value: float, decimals: int) -> str:
    """Rounded, in the language's own way; Django's `number_format` by itself cuts digits off."""
    return str(number_format(f"{value:.{decimals}f}"))
