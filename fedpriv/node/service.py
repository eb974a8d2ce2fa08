"""A hospital at work: one process that loads its images once, then answers the coordinator until stopped."""

from __future__ import annotations

import logging
import logging.handlers
import signal
import threading
from typing import TYPE_CHECKING

from fedpriv.errors import HomeError
from fedpriv.node.flower import LinkState, serve
from fedpriv.node.hospital import Hospital, Prepared
from fedpriv.node.register import load_register, save_register
from fedpriv.node.training import trainer_for
from fedpriv.smears.index import index_images
from fedpriv.smears.load import OnBad, Unit, load_images
from fedpriv.smears.manifest import Split

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from fedpriv.node.home import NodeHome
    from fedpriv.node.journal import Journal
    from fedpriv.study import Study

_LOG_BYTES, _LOG_FILES = 1_000_000, 5
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

_STATES = {
    LinkState.CONNECTING: "calling {address}",
    LinkState.CONNECTED: "connected to {address}, waiting for rounds",
    LinkState.LOST: "{address} does not answer; trying again (Ctrl-C stops)",
    LinkState.REFUSED: "{address} does not know this hospital's key, or the two clocks differ; trying again",
    LinkState.UNTRUSTED: "{address} is not the coordinator of the pinned roster; trying again",
}


def work(home: NodeHome, say: Callable[[str], None]) -> None:
    """Load the approved studies' images, then answer the coordinator until SIGINT or SIGTERM.

    ``say`` hears what an admin should see. Raises HomeError, ImageError, IdentityError, Declined or
    JournalCorrupt before anything is sent, if something that the work needs is missing or wrong.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    _log_to(home)
    identity, roster = home.identity(), home.roster()
    with home.open_journal() as journal:
        studies = home.approved_studies(journal.rows)
        if not studies:
            raise HomeError(
                f"{home.folder}: no study is approved yet", hint="read it, then `fedpriv node approve STUDY`"
            )
        hospital = Hospital(home, journal, lambda study: _prepare(home, journal, study, say))
        hospital.prepare(studies[-1])
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        serve(
            address=home.config.coordinator,
            root_certificate=roster.coordinator.ca_certificate.encode(),
            link_key=identity.link_key,
            handle=hospital.handle,
            stop=stop,
            on_state=lambda state: say(_STATES[state].format(address=home.config.coordinator)),
        )
    say("stopped")


def _prepare(home: NodeHome, journal: Journal, study: Study, say: Callable[[str], None]) -> Prepared:
    """Decode this hospital's images for ``study``, enter them in the register, and load TensorFlow."""
    dataset = home.config.dataset
    index = index_images(home.images_path, study.study.classes)
    if dataset.hospital or dataset.split:
        split = Split(dataset.split) if dataset.split else None
        index = index.select(hospital=dataset.hospital, split=split)
    say(f"loading {len(index.entries)} images from {home.images_path}")
    loaded = load_images(
        index,
        study.images.size,
        unit=Unit(study.privacy.unit),
        on_bad=OnBad(dataset.on_bad_image),
    )
    for line in loaded.skipped:
        say(f"skipped {line}")
    register = load_register(home.folder, journal.rows).enter(dataset.name, loaded.pictures)
    digest = save_register(home.folder, journal.rows, register)
    trainer = trainer_for(study, home.config.name, loaded.images, loaded.labels, loaded.units)
    return Prepared(trainer, digest)


def _log_to(home: NodeHome) -> None:
    home.logs_folder.mkdir(exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        home.logs_folder / "node.log",
        maxBytes=_LOG_BYTES,
        backupCount=_LOG_FILES,
        encoding="utf-8",
        delay=True,  # a start that is refused leaves no empty file
    )
    handler.setFormatter(logging.Formatter(_LOG_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
