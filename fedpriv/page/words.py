"""Every code that the page can show, in words; Django translates them when they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from fedpriv.model.evidence_map import Place
from fedpriv.page.reading import CannotTell, Refusal
from fedpriv.page.responses import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrPromise as Words

CLASSES: Mapping[str, Words] = {
    "Benign": _("Benign"),
    "Early": _("Early Pre-B"),
    "Pre": _("Pre-B"),
    "Pro": _("Pro-B"),
}
"""Names of the classes by how studies of blood smears call them; others are shown as they are."""

CANNOT_TELL: Mapping[CannotTell, Words] = {
    CannotTell.LOW_CONFIDENCE: _("No class is probable enough to be named."),
    CannotTell.NOT_A_SMEAR: _("This does not look like a blood smear, so no probability is given."),
}

REFUSALS: Mapping[Refusal, Words] = {
    Refusal.EMPTY: _("The file is empty. Choose it again, or export it anew."),
    Refusal.NOT_AN_IMAGE: _("This is no PNG, JPEG or TIFF image, whatever its name says."),
    Refusal.TOO_SMALL: _("The image is too small: each side needs 64 pixels or more."),
    Refusal.TOO_LARGE: _("The image is too large. Export a single field of view, not a whole slide."),
    Refusal.SEVERAL_FRAMES: _("The file holds several images. Export one field of view."),
    Refusal.PIXEL_MODE: _("These colours cannot be read. Save the image with 8 bits of red, green and blue."),
    Refusal.DAMAGED: _("The file is damaged or cut short. Copy or export it anew."),
    Refusal.TOO_COSTLY: _("Decoding this file took too much memory or time. Export it anew."),
}

REASONS: Mapping[Reason, Words] = {
    Reason.BAD_REQUEST: _("The page does not understand what your browser sent."),
    Reason.FORBIDDEN: _("You may not see this, or the form was open for too long. Log in and try again."),
    Reason.NOT_FOUND: _("There is no such page."),
    Reason.FAILED: _("Something went wrong here. The images were forgotten; try again."),
    Reason.REQUEST_TOO_LARGE: _("The images are too large together. Send fewer at a time."),
    Reason.NO_IMAGE: _("Choose an image first."),
    Reason.TOO_MANY_IMAGES: _("Too many images at a time. Send fewer."),
    Reason.TOO_OFTEN: _(
        "You have read as many images as one person may for now: whoever may ask without end can learn"
        " about the training images."
    ),
    Reason.TOO_MANY_GUESSES: _("Too many attempts to log in."),
}

PLACES: Mapping[Place, Words] = {
    Place.UPPER_LEFT: _("The evidence is strongest in the upper left."),
    Place.UPPER_MIDDLE: _("The evidence is strongest in the upper middle."),
    Place.UPPER_RIGHT: _("The evidence is strongest in the upper right."),
    Place.MIDDLE_LEFT: _("The evidence is strongest in the middle of the left side."),
    Place.CENTRE: _("The evidence is strongest in the centre."),
    Place.MIDDLE_RIGHT: _("The evidence is strongest in the middle of the right side."),
    Place.LOWER_LEFT: _("The evidence is strongest in the lower left."),
    Place.LOWER_MIDDLE: _("The evidence is strongest in the lower middle."),
    Place.LOWER_RIGHT: _("The evidence is strongest in the lower right."),
    Place.SPREAD: _("The evidence is spread over the field; no place stands out."),
    Place.NOWHERE: _("No square of the field speaks for this class more than plain plasma does."),
}

UNITS: Mapping[str, Words] = {"image": _("image"), "patient": _("patient")}
NOISES: Mapping[str, Words] = {
    "local": _("every hospital adds all of the noise by itself"),
    "distributed": _("the hospitals share the noise"),
    "none": _("no noise was added"),
}

OUTCOMES: Mapping[str, Words] = {
    "complete": _("complete"),
    "failed": _("failed"),
    "open": _("no end recorded"),
}
"""How a round ended."""
