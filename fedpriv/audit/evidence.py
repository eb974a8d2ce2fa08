"""What is to be verified, and reading it from where runs and hospitals keep it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.coordinator.run_folder import ReceiptsAcknowledged, RoundEnded, RoundStarted, open_run
from fedpriv.errors import HomeError, JournalCorrupt
from fedpriv.model.folder import load_model
from fedpriv.node.home import open_home
from fedpriv.node.journal import read_journal

if TYPE_CHECKING:
    from pathlib import Path

    from fedpriv.audit.claims import Claims
    from fedpriv.coordinator.run_folder import Line
    from fedpriv.identity.roster import Roster
    from fedpriv.model.folder import Card
    from fedpriv.node.chain import Row
    from fedpriv.study import Study


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """What a run left: its 16-byte id, its study, its lines, and the card of its model if there is one."""

    run: bytes
    study: Study
    lines: tuple[Line, ...]
    card: Card | None

    @property
    def ended(self) -> list[RoundEnded]:
        """The rounds that ended, in the order of the record."""
        return [line for line in self.lines if isinstance(line, RoundEnded)]

    @property
    def acknowledgements(self) -> list[ReceiptsAcknowledged]:
        """Who confirmed which receipt, in the order of the record."""
        return [line for line in self.lines if isinstance(line, ReceiptsAcknowledged)]

    @property
    def started(self) -> list[int]:
        """The numbers of all rounds that started, in the order of the record."""
        return [line.round for line in self.lines if isinstance(line, RoundStarted)]

    @property
    def charged_rounds(self) -> list[int]:
        """Those for which somebody may have been charged: asked to train, or nobody knows."""
        known = {line.round: bool(line.asked_to_train) for line in self.ended}
        return [number for number in self.started if known.get(number, True)]

    @property
    def charged(self) -> int:
        """How many these are."""
        return len(self.charged_rounds)


@dataclass(frozen=True, slots=True)
class JournalEvidence:
    """One hospital's journal, its chain and signature verified already.

    ``rows`` are those that can be read, ``heads`` the digests (32 bytes) of all rows, and ``closed`` counts
    the rows of which an export shows only the digest; of a journal in a home there are none.
    """

    hospital: str
    rows: tuple[Row, ...]
    heads: tuple[bytes, ...]
    closed: int = 0


def read_run(claims: Claims, folder: Path) -> RunEvidence | None:
    """The run in ``folder``, or None if its record cannot be read; HomeError if there is no run.

    The model's weights are held against their card here, and the last checkpoint against the record.
    """
    run = open_run(folder.resolve())  # its name tells which run it is, and a link has another
    try:
        identifier = run.run
    except ValueError as error:
        raise HomeError(
            f"{run.folder}: the name does not end in a run's identifier",
            hint="give the folder back the name that it had under runs/",
        ) from error
    try:
        lines = tuple(run.lines())
    except HomeError as error:
        claims.hold("run", error.message, given=False)
        return None
    card = None
    try:
        run.latest()
        card = load_model(run.model_folder).card if run.completed() else None
    except HomeError as error:
        claims.hold("model", error.message, given=False)
    return RunEvidence(identifier, run.study, lines, card)


def read_hospital(claims: Claims, folder: Path, roster: Roster) -> JournalEvidence | None:
    """The journal in a node's home, or None if it does not verify; IdentityError for a stranger's home.

    The key is the roster's: whether the home has the private half of it does not matter here.
    """
    name = open_home(folder).config.name
    try:
        rows = read_journal(folder, roster.signing_keys_of(name)[0])
    except JournalCorrupt as error:
        claims.hold(f"journal of {name}", error.message, given=False)
        return None
    claims.checked += len(rows)
    return JournalEvidence(name, tuple(rows), tuple(row.digest for row in rows))
