"""What one page is: its home, its model, whom it trusts in front of it, and how much a user may ask."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from fedpriv.errors import HomeError, Refused
from fedpriv.identity.private_files import FOLDER_MODE, read_private_file, write_private_file

if TYPE_CHECKING:
    from pathlib import Path

    from fedpriv.model.folder import Card
    from fedpriv.model.model_card import ModelCard
    from fedpriv.page.runs import RunSource

SIGNING_KEY_FILE = "signing-key"
DATABASE_FILE = "page.sqlite"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

PRIVATE_UMASK = 0o077
MOST_UPLOAD_BYTES = 32 << 20
"""Of one request that brings images, all of them together; they lie in memory and nowhere else."""

MOST_FORM_BYTES = 64 << 10
"""Of any other request."""

MOST_IMAGES = 32
"""In one request."""

_SIGNING_KEY_BYTES = 48


@dataclass(frozen=True, slots=True)
class Limits:
    """Images that one user may ask about. Attacks on membership need many answers; a doctor does not."""

    images_per_minute: int = 60
    images_per_day: int = 1000

    @property
    def images_per_request(self) -> int:
        """What one request may bring: never more than a minute allows."""
        return min(MOST_IMAGES, self.images_per_minute)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageConfig:
    """Everything that `settings_for` needs to know.

    ``model`` is the folder that ``card`` and ``model_card`` were read from, None where only users are
    managed; a model need not have a model card. ``runs`` gives what operators may see. ``names`` are the host
    names by which browsers reach the page. ``tls`` is true where browsers speak TLS to the page or
    to the proxy in front of it. ``database`` and ``cache`` are URLs; None is SQLite in the home.
    """

    home: Path
    model: Path | None = None
    card: Card | None = None
    model_card: ModelCard | None = None
    runs: RunSource | None = None
    names: tuple[str, ...] = ()
    tls: bool = False
    behind_proxy: bool = False
    database: str | None = None
    cache: str | None = None
    limits: Limits = Limits()

    @property
    def without_privacy_statement(self) -> bool:
        """Whether the model claims nothing about the privacy of its training images: the page must say so."""
        return self.card is not None and self.card.privacy.epsilon is None


def current() -> PageConfig:
    """The configuration that Django was set up with."""
    from django.conf import settings

    return cast("PageConfig", settings.FEDPRIV_PAGE)


def open_home(home: Path) -> None:
    """Make ``home`` (0700) if it is not there, and its key (0600); later files are private too."""
    os.umask(PRIVATE_UMASK)
    try:
        home.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"{home}: cannot be made ({error.strerror})", hint="name a folder") from error
    if not (home / SIGNING_KEY_FILE).exists():
        write_private_file(
            home / SIGNING_KEY_FILE, secrets.token_urlsafe(_SIGNING_KEY_BYTES).encode() + b"\n"
        )


def signing_key(home: Path) -> str:
    """The key that signs sessions; IdentityError if others can read it."""
    return read_private_file(home / SIGNING_KEY_FILE).decode().strip()


def load_card(model: Path, *, without_privacy_statement: bool) -> tuple[Path, Card]:
    """The model folder in ``model`` and its card, the weights checked against it.

    Raises:
        Refused: the card claims no epsilon, and the operator did not say that this is meant.

    """
    from fedpriv.model.folder import find_model_folder, load_model

    folder = find_model_folder(model)
    card = load_model(folder).card
    if card.privacy.epsilon is None and not without_privacy_statement:
        raise Refused(
            f"{folder}: its card states no epsilon, so nothing is claimed about its training images",
            hint="--without-privacy-statement serves it all the same, and the page says so",
        )
    return folder, card
