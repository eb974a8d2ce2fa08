"""A hospital's home folder: one admin, one dataset, one identity.

node.toml            who we are, where our images are, whom we call, what we allow
identity/            private keys (0600)
roster.toml          the pinned roster
approved/            the studies that were approved, each under its digest
journal.sqlite       the append-only record (see `fedpriv.node.journal`)
register/            which images each dataset name stands for (see `fedpriv.node.register`)
logs/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from fedpriv.all_or_nothing import all_or_nothing
from fedpriv.errors import HomeError, IdentityError
from fedpriv.identity.enrolment import make_identity, request_path
from fedpriv.identity.keys import Identity, check_name, load
from fedpriv.identity.roster import Roster, load_roster
from fedpriv.metrics import Metrics
from fedpriv.node.budget import approvals_of
from fedpriv.node.events import Approve
from fedpriv.node.journal import Journal, read_journal
from fedpriv.node.policy import Policy, check_claim, check_study
from fedpriv.study import Study, load_study
from fedpriv.toml_files import dump_toml, parse_toml, read_toml, write_new_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fedpriv.node.chain import Row

CONFIG_FILE = "node.toml"

_ADDRESS = re.compile(r"[^\s:/]+:(?P<port>[0-9]{1,5})")


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[dataset]``: the budget's name for it, its folder, and which rows of a manifest are ours.

    ``hospital`` and ``split`` choose rows of a manifest.csv; without them every image of the folder is
    taken. ``on_bad_image``: "refuse" to start, or "skip" it by name.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    images: str
    hospital: str | None = None
    split: Literal["train", "test"] | None = None
    on_bad_image: Literal["refuse", "skip"] = "refuse"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``node.toml``; relative paths start at its folder.

    Without ``[metrics]`` nobody can read any.
    """

    name: str
    coordinator: str
    dataset: Dataset
    policy: Policy
    roster: str = "roster.toml"
    metrics: Metrics | None = None


@dataclass(frozen=True, slots=True)
class NodeHome:
    """An existing home and its configuration."""

    folder: Path
    config: Config

    @property
    def identity_folder(self) -> Path:
        """The hospital's private keys."""
        return self.folder / "identity"

    @property
    def approved_folder(self) -> Path:
        """Approved studies, named by digest."""
        return self.folder / "approved"

    @property
    def logs_folder(self) -> Path:
        """Log files; they hold nothing computed from an image."""
        return self.folder / "logs"

    @property
    def log_path(self) -> Path:
        """The newest of them."""
        return self.logs_folder / "node.log"

    @property
    def roster_path(self) -> Path:
        """The pinned roster."""
        return self.folder / self.config.roster

    @property
    def images_path(self) -> Path:
        """The folder of images."""
        return self.folder / self.config.dataset.images

    def identity(self) -> Identity:
        """Read the keys; IdentityError says what is wrong with them."""
        return load(self.identity_folder)

    def roster(self) -> Roster:
        """Read the roster and find ourselves in it, with our own key; raises IdentityError or HomeError."""
        if not self.roster_path.exists():
            raise HomeError(
                f"{self.roster_path}: no roster yet",
                hint="ask the operator for it, then run `fedpriv keys roster FILE --pin`",
            )
        roster = load_roster(self.roster_path)
        if roster.member(self.config.name).signing_key != self.identity().signing_public_key:
            raise HomeError(
                f"{self.roster_path} has another key for {self.config.name} than {self.identity_folder}",
                hint="send the operator the new request file, or restore the old identity",
            )
        return roster

    def rows(self) -> list[Row]:
        """Every row of the journal, verified, also while a node writes it; JournalCorrupt if it is broken."""
        return read_journal(self.folder, self.identity().signing_public_key)

    def open_journal(self) -> Journal:
        """The journal, for writing; HomeError while another process writes it."""
        return Journal(self.folder, self.identity())

    def approve(self, journal: Journal, study_path: Path, *, again: bool = False) -> Study:
        """Check a study against the policy, keep a copy under its digest, and journal the approval.

        An approval is for all rounds of the study, once; ``again`` grants as many rounds once more.
        """
        study = load_study(study_path)
        check_study(self.config.policy, study, self.config.name)
        check_claim(study)
        if approvals_of(journal.rows, study.digest) and not again:
            raise HomeError(
                f"{study_path} is approved already",
                hint="--again grants its rounds, and their cost, once more",
            )
        copy = self._approved_path(study.digest)
        if not copy.exists():
            write_new_file(copy, study_path.read_text(encoding="utf-8"), HomeError)
        journal.append(Approve(study_name=study.study.name, study_digest=study.digest))
        return study

    def approved_study(self, digest: bytes) -> Study | None:
        """The study kept under this digest, or None; whether it is approved, the journal says."""
        path = self._approved_path(digest)
        if not path.exists():
            return None
        study = load_study(path)
        if study.digest != digest:
            raise HomeError(
                f"{path} was changed after it was approved",
                hint="delete it and approve the study again from the operator's file",
            )
        return study

    def approved_studies(self, rows: Sequence[Row]) -> list[Study]:
        """Every approved study, in the order of its first approval in the journal."""
        digests = dict.fromkeys(row.event.study_digest for row in rows if isinstance(row.event, Approve))
        found = [(digest, self.approved_study(digest)) for digest in digests]
        for digest, study in found:
            if study is None:
                raise HomeError(
                    f"{self._approved_path(digest)} is missing, but the journal says it was approved",
                    hint="put the study file back under that name",
                )
        return [study for _, study in found if study is not None]

    def _approved_path(self, digest: bytes) -> Path:
        return self.approved_folder / f"{digest.hex()}.toml"


def init_home(folder: Path, config: Config) -> NodeHome:
    """Make a home; an identity that ``fedpriv keys new`` put there is kept, otherwise one is made.

    HomeError, with nothing written, if there is a node here or the configuration is wrong.
    """
    text, path = dump_toml(config), folder / CONFIG_FILE
    home = NodeHome(folder, _checked(parse_toml(text, str(path), Config, HomeError), path))
    if path.exists():
        raise HomeError(f"{path}: there is a node here already", hint="choose another --home")
    if not home.images_path.is_dir():
        raise HomeError(f"{home.images_path}: no such folder of images")
    request = request_path(config.name, folder)
    with all_or_nothing(home.identity_folder, request, home.approved_folder, home.logs_folder):
        if not home.identity_folder.exists():
            make_identity(config.name, folder)
        elif (owner := home.identity().name) != config.name:
            raise HomeError(
                f"{home.identity_folder} belongs to {owner}, not to {config.name}",
                hint=f"give --name {owner}, or choose another --home",
            )
        try:
            home.approved_folder.mkdir(exist_ok=True)
            home.logs_folder.mkdir(exist_ok=True)
        except OSError as error:
            raise HomeError(f"{folder} cannot be written: {error.strerror}") from error
        write_new_file(path, text, HomeError)
    return home


def open_home(folder: Path) -> NodeHome:
    """An existing home; HomeError says what is missing or wrong."""
    path = folder / CONFIG_FILE
    if not path.exists():
        raise HomeError(
            f"{path}: no node here", hint="`fedpriv node init` makes one; or name the right --home"
        )
    return NodeHome(folder, _checked(read_toml(path, Config, HomeError), path))


def _checked(config: Config, path: Path) -> Config:
    try:
        check_name(config.name)
    except IdentityError as error:
        raise HomeError(f"{path}: name: {error.message}") from error
    address = _ADDRESS.fullmatch(config.coordinator)
    if not address or not 0 < int(address["port"]) < 2**16:
        raise HomeError(
            f"{path}: coordinator = {config.coordinator!r} is no HOST:PORT with a port from 1 to 65535",
            hint="ask the operator for the address; it looks like fed.example.org:9092",
        )
    return config
