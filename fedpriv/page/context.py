"""What every template may show: the model's card, and the limits.

``card`` is a `fedpriv.model.folder.Card`; ``without_privacy_statement`` is true where it claims no epsilon
and the page must say so; ``limits`` is a `fedpriv.page.config.Limits`; ``most_images`` is how many one
request may bring, ``most_megabytes`` how much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.page.config import MOST_UPLOAD_BYTES, current

if TYPE_CHECKING:
    from django.http import HttpRequest


def of_the_page(_request: HttpRequest) -> dict[str, object]:
    """Read the configuration; nothing here comes from a visitor."""
    config = current()
    return {
        "card": config.card,
        "without_privacy_statement": config.without_privacy_statement,
        "limits": config.limits,
        "most_images": config.limits.images_per_request,
        "most_megabytes": MOST_UPLOAD_BYTES >> 20,
    }
