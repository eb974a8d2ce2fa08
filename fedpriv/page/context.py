"""What every template may show: the model's card, and the limits.

``card`` is a `fedpriv.model.folder.Card`, ``model_card`` a `fedpriv.model.model_card.ModelCard` or None;
``least_confidence`` is from when on a class is named; ``without_privacy_statement`` is true where the card
claims no epsilon and the page must say so; ``limits`` is a `fedpriv.page.config.Limits`; ``most_images`` is
how many one request may bring, ``most_megabytes`` how much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.page.config import MOST_UPLOAD_BYTES, current
from fedpriv.page.reading import LEAST_CONFIDENCE

if TYPE_CHECKING:
    from django.http import HttpRequest


def of_the_page(_request: HttpRequest) -> dict[str, object]:
    """Read the configuration; nothing here comes from a visitor."""
    config = current()
    return {
        "card": config.card,
        "model_card": config.model_card,
        "least_confidence": LEAST_CONFIDENCE,
        "without_privacy_statement": config.without_privacy_statement,
        "limits": config.limits,
        "most_images": config.limits.images_per_request,
        "most_megabytes": MOST_UPLOAD_BYTES >> 20,
    }
