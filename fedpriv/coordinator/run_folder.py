"""What a run leaves on the coordinator's disk, so that it can be resumed, read and audited.

    runs/<run>/study.toml       what the hospitals approved
    runs/<run>/rounds.jsonl     append-only: a line when a round starts, ends, and has its receipts confirmed
    runs/<run>/checkpoints/     the progress before the first and after the last two complete rounds
    runs/<run>/model/           the model folder that `fedpriv model` and the page read
    runs/<run>/bundle.zip       all that an auditor needs (see `fedpriv.coordinator.bundle`)

A round is written as started before any hospital is invited to it, since a hospital refuses a
round number that it has seen: after a crash the next attempt takes the next number. It is written as
complete, with its receipt, before any hospital is sent that receipt.
"""

from __future__ import annotations

import io
import os
import secrets
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np

from fedpriv import study as studies
from fedpriv.all_or_nothing import all_or_nothing
from fedpriv.coordinator.server_step import Progress, at_start
from fedpriv.errors import HomeError
from fedpriv.secagg.messages import Closed
from fedpriv.secagg.record import RoundRecord
from fedpriv.secagg.terms import model_digest
from fedpriv.toml_files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

STUDY_FILE = "study.toml"
ROUNDS_FILE = "rounds.jsonl"
MODEL_FOLDER = "model"
BUNDLE_FILE = "bundle.zip"
KEPT_CHECKPOINTS = 2


class RoundStarted(msgspec.Struct, frozen=True, tag_field="event", tag="started", forbid_unknown_fields=True):
    """Hospitals were about to be invited to ``round``."""

    round: int


class RoundEnded(msgspec.Struct, frozen=True, tag_field="event", tag="ended", forbid_unknown_fields=True):
    """How ``round`` ended. Model digests are hex.

    ``cohort`` is who is in the sum, ``dropped`` says at which stage and why somebody went missing,
    ``asked_to_train`` is who must have been charged. ``seconds`` is the wall time of each stage at the
    coordinator. ``record`` holds every signed message.
    """

    round: int
    outcome: Literal["complete", "failed"]
    cohort: tuple[str, ...]
    dropped: dict[str, str]
    asked_to_train: tuple[str, ...]
    reason: str
    model_before: str
    model_after: str
    seconds: dict[str, float]
    record: RoundRecord


class ReceiptsAcknowledged(
    msgspec.Struct, frozen=True, tag_field="event", tag="acknowledged", forbid_unknown_fields=True
):
    """Who confirmed the receipt of the complete ``round``, which was recorded before it was sent.

    ``dropped`` says why somebody did not; after a crash or Ctrl-C there may be no such line.
    """

    round: int
    acknowledgements: tuple[Closed, ...]
    dropped: dict[str, str]
    seconds: dict[str, float]


Line: TypeAlias = RoundStarted | RoundEnded | ReceiptsAcknowledged
_DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """An existing run on disk."""

    folder: Path
    study: studies.Study

    @property
    def run(self) -> bytes:
        """The run's 16-byte identifier, drawn at random when the run was made."""
        return run_id(self.folder.name)

    @property
    def model_folder(self) -> Path:
        """Where the latest model lies."""
        return self.folder / MODEL_FOLDER

    def lines(self) -> list[Line]:
        """Everything recorded so far; a last line cut short by a crash is left out."""
        path = self.folder / ROUNDS_FILE
        return parse_lines(path.read_bytes() if path.exists() else b"", str(path))

    def completed(self) -> list[RoundEnded]:
        """The complete rounds, oldest first."""
        return [line for line in self.lines() if isinstance(line, RoundEnded) and line.outcome == "complete"]

    def next_round(self) -> int:
        """The smallest round number that no hospital has seen in this run."""
        return 1 + max((line.round for line in self.lines()), default=0)

    def append(self, line: Line) -> None:
        """Record ``line``, over a last line that a crash cut short, and wait until it is on disk.

        HomeError if it cannot be written.
        """
        path = self.folder / ROUNDS_FILE
        try:
            path.touch()
            with path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
                file.seek(0, os.SEEK_END)
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HomeError(f"{path} cannot be written: {error.strerror}") from error

    def save_checkpoint(self, round_number: int, progress: Progress) -> None:
        """Keep ``progress`` as what ``round_number`` came to, 0 before the first; HomeError if it cannot."""
        path = self._checkpoint(round_number)
        path.parent.mkdir(exist_ok=True)
        content = io.BytesIO()  # on a full disk numpy's archive would print a traceback of its own
        np.savez(content, vector=progress.vector, velocity=progress.velocity, average=progress.average)
        replace_file(path, content.getvalue(), HomeError)

    def drop_old_checkpoints(self) -> None:
        """Keep what was before the first and after the last two complete rounds.

        Only what the record names counts: a checkpoint that a crash left without its line is none of them.
        """
        kept = {0, *(line.round for line in self.completed()[-KEPT_CHECKPOINTS:])}
        paths = {self._checkpoint(number) for number in kept}
        for path in self._checkpoint(0).parent.iterdir():
            if path not in paths:
                path.unlink()

    def latest_vector(self) -> NDArray[np.float32]:
        """The model after the last complete round, float32 (d,); errors as `latest`."""
        return self.latest().vector

    def latest(self) -> Progress:
        """The progress after the last complete round; HomeError if its model is not the one recorded."""
        complete = self.completed()
        path = self._checkpoint(complete[-1].round if complete else 0)
        try:
            with np.load(path, allow_pickle=False) as file:
                progress = Progress(file["vector"], file["velocity"], file["average"])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise HomeError(f"{path}: {error}", hint="restore the run's folder from a backup") from None
        if (
            complete
            and model_digest(progress.vector.astype("<f4").tobytes()).hex() != complete[-1].model_after
        ):
            raise HomeError(
                f"{path}: not the model that round {complete[-1].round} recorded",
                hint="restore the run's folder from a backup",
            )
        return progress

    def _checkpoint(self, round_number: int) -> Path:
        return self.folder / "checkpoints" / f"round-{round_number:06d}.npz"


def run_id(name: str) -> bytes:
    """The identifier in the name of a run's folder; ValueError if it ends in none."""
    return bytes.fromhex(name.rpartition("-")[2])


def parse_lines(raw: bytes, source: str) -> list[Line]:
    """The lines of a record, a last one without its end left out; HomeError names the wrong one."""
    lines: list[Line] = []
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        try:
            lines.append(_DECODER.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HomeError(
                f"{source}, line {number}: {error}", hint="the record was edited; restore it from a backup"
            ) from None
    return lines


def new_run(runs_folder: Path, study: studies.Study, first_vector: NDArray[np.float32]) -> RunFolder:
    """Make the folder of a run that starts from ``first_vector``."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_bytes(16).hex()}"
    folder = runs_folder / name
    with all_or_nothing(folder):
        folder.mkdir(parents=True)
        run = RunFolder(folder, study)
        run.save_checkpoint(0, at_start(first_vector))
        # Last and in one step: where a study lies, all else does. Half a study would stop every command here.
        replace_file(folder / STUDY_FILE, studies.dump_study(study), HomeError)
    return run


def open_run(folder: Path) -> RunFolder:
    """Open an existing run; HomeError if there is none."""
    path = folder / STUDY_FILE
    if not path.exists():
        raise HomeError(f"{folder}: no run here", hint="runs lie under runs/ in the coordinator's home")
    return RunFolder(folder, studies.load_study(path))
