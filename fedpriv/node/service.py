"""A hospital at work: one process that loads its images once, then answers the coordinator until stopped."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from typing import TYPE_CHECKING

from fedpriv import logs
from fedpriv.errors import HomeError
from fedpriv.metrics import served
from fedpriv.node.flower import serve
from fedpriv.node.hospital import Hospital, Prepared
from fedpriv.node.register import load_register, save_register
from fedpriv.node.state import Activity, pulse_path
from fedpriv.node.training import trainer_for
from fedpriv.pulse import Heart
from fedpriv.smears.index import index_images
from fedpriv.smears.load import OnBad, Unit, load_images
from fedpriv.smears.manifest import Split

if TYPE_CHECKING:
    from types import FrameType

    from fedpriv.logs import Log
    from fedpriv.node.flower import LinkState
    from fedpriv.node.home import NodeHome
    from fedpriv.node.journal import Journal
    from fedpriv.study import Study

_log = logging.getLogger(__name__)


def work(home: NodeHome, log: Log) -> None:
    """Load the approved studies' images, then answer the coordinator until SIGINT or SIGTERM.

    ``log`` is kept in the home once the hospital is ready. Raises HomeError, ImageError, IdentityError,
    Declined or JournalCorrupt before anything is sent, if something that the work needs is missing or wrong.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    identity, roster = home.identity(), home.roster()
    activity = Activity(home.config.coordinator)
    with contextlib.ExitStack() as exits:
        journal = exits.enter_context(home.open_journal())
        studies = home.approved_studies(journal.rows)
        if not studies:
            raise HomeError(
                f"{home.folder}: no study is approved yet", hint="read it, then `fedpriv node approve STUDY`"
            )
        heart = exits.enter_context(Heart(pulse_path(home.folder), activity.pulse))

        def on_state(state: LinkState) -> None:
            activity.link_is(state)
            heart.beat()
            logs.event(_log, f"link_{state}", activity.pulse().says)

        if home.config.metrics is not None:
            from fedpriv.node.metrics import NodeMetrics

            metrics = NodeMetrics(home, roster, journal, activity)
            exits.enter_context(served(home.config.metrics, metrics.look))
        hospital = Hospital(home, journal, lambda study: _prepare(home, journal, study))
        hospital.prepare(studies[-1])
        log.keep_in(home.log_path)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        serve(
            address=home.config.coordinator,
            root_certificate=roster.coordinator.ca_certificate.encode(),
            link_key=identity.link_key,
            handle=activity.following(hospital.handle),
            stop=stop,
            on_state=on_state,
        )
    logs.event(_log, "stopped", "stopped")


def _prepare(home: NodeHome, journal: Journal, study: Study) -> Prepared:
    """Decode this hospital's images for ``study``, enter them in the register, and load TensorFlow."""
    dataset = home.config.dataset
    index = index_images(home.images_path, study.study.classes)
    if dataset.hospital or dataset.split:
        split = Split(dataset.split) if dataset.split else None
        index = index.select(hospital=dataset.hospital, split=split)
    # Neither how many nor which images: a hospital's logs may go to machines where its images may not.
    logs.event(_log, "loading", f"loading images from {home.images_path}")
    loaded = load_images(
        index,
        study.images.size,
        unit=Unit(study.privacy.unit),
        on_bad=OnBad(dataset.on_bad_image),
    )
    if loaded.skipped:
        words = f"skipped unusable images; `fedpriv data check {home.images_path}` names them"
        logs.event(_log, "images_skipped", words, level=logging.WARNING)
    register = load_register(home.folder, journal.rows).enter(dataset.name, loaded.pictures)
    digest = save_register(home.folder, journal.rows, register)
    trainer = trainer_for(study, home.config.name, loaded.images, loaded.labels, loaded.units)
    return Prepared(trainer, digest)
