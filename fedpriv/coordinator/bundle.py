"""What an auditor gets of a run: one file with everything that was signed, and the model that came of it.

    contents.json            what follows, by SHA-256, and who put it together; signed by the coordinator
    journals/<hospital>.json what a hospital exported of its journal, where it did (`fedpriv.node.export`)
    model/card.json          what is claimed of the model
    model/model.npy          its weights
    roster.toml              who the members are
    rounds.jsonl             every round with every signed message (`fedpriv.coordinator.run_folder`)
    study.toml               what the hospitals approved

The same run, exports and versions give the same bytes. Nothing in a bundle is secret, and nothing is computed
from an image except the model: signed messages hold keys, digests and names, journals hold charges.
"""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Annotated

import msgspec

from fedpriv import __version__
from fedpriv.coordinator.archive import pack, unpack
from fedpriv.coordinator.run_folder import BUNDLE_FILE, MODEL_FOLDER, ROUNDS_FILE, STUDY_FILE
from fedpriv.errors import BundleError
from fedpriv.identity.roster import dump_roster
from fedpriv.identity.signing import sign, verify
from fedpriv.model.folder import CARD_FILE, VECTOR_FILE
from fedpriv.toml_files import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fedpriv.coordinator.run_folder import RunFolder
    from fedpriv.identity.keys import Identity
    from fedpriv.identity.roster import Roster

CONTENTS = "contents.json"
ROSTER = "roster.toml"
STUDY = STUDY_FILE
ROUNDS = ROUNDS_FILE
CARD = f"{MODEL_FOLDER}/{CARD_FILE}"
VECTOR = f"{MODEL_FOLDER}/{VECTOR_FILE}"
JOURNALS = "journals/"

FORMAT = "fedpriv bundle 1"
_PURPOSE = b"bundle contents"
_NAMED_PACKAGES = ("cryptography", "dp-accounting", "flwr", "msgspec", "numpy", "tensorflow", "tf-keras")

_Hex = Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{2})*\Z")]


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first entry: ``sha256`` maps every other one to its hex digest; run and signature are hex, too.

    ``versions`` are those of the coordinator's machine.
    """

    format: str
    run: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    versions: dict[str, str]
    sha256: dict[str, _Hex]
    signature: _Hex = ""

    def encoded(self) -> bytes:
        """The one spelling of this entry."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2) + b"\n"

    def sealed_by(self, identity: Identity) -> Contents:
        """A copy that carries the coordinator's signature."""
        return msgspec.structs.replace(
            self, signature=sign(identity.signing_key, _PURPOSE, self._statement).hex()
        )

    def verify(self, public_key: bytes) -> None:
        """Return only if ``public_key`` signed these contents; BadSignature otherwise."""
        verify(public_key, _PURPOSE, self._statement, bytes.fromhex(self.signature))

    @property
    def _statement(self) -> bytes:
        return msgspec.structs.replace(self, signature="").encoded()


def write_bundle(
    run: RunFolder, roster: Roster, identity: Identity, journals: Mapping[str, bytes] | None = None
) -> Path:
    """Write or replace the bundle of ``run``; give its path.

    ``journals`` maps a hospital to its export; whoever reads them in has verified them. BundleError if the
    bundle would be too large.
    """
    path = run.folder / BUNDLE_FILE
    replace_file(path, pack(sealed(run.run, _entries(run, roster, journals or {}), identity)), BundleError)
    return path


def is_behind(run: RunFolder, roster: Roster) -> bool:
    """Whether the bundle of ``run`` is missing or lacks what a command that was killed recorded."""
    path = run.folder / BUNDLE_FILE
    try:
        shown = unpack(path.read_bytes(), str(path))
    except (OSError, BundleError):
        return True
    return any(shown.get(name) != content for name, content in _entries(run, roster, {}).items())


def journal_entry(hospital: str) -> str:
    """The entry of a hospital's export."""
    return f"{JOURNALS}{hospital}.json"


def sealed(run: bytes, entries: Mapping[str, bytes], identity: Identity) -> dict[str, bytes]:
    """``entries`` in the order of a bundle, behind the contents that the coordinator signs for them."""
    ordered = dict(sorted(entries.items()))
    contents = Contents(
        format=FORMAT,
        run=run.hex(),
        versions=_versions(),
        sha256={path: hashlib.sha256(content).hexdigest() for path, content in ordered.items()},
    )
    return {CONTENTS: contents.sealed_by(identity).encoded(), **ordered}


def _entries(run: RunFolder, roster: Roster, journals: Mapping[str, bytes]) -> dict[str, bytes]:
    files = {path: run.folder / path for path in (STUDY, ROUNDS, CARD, VECTOR)}
    found = {path: file.read_bytes() for path, file in files.items() if file.exists()}
    rounds = found.get(ROUNDS, b"")
    return {
        **found,
        ROSTER: dump_roster(roster).encode(),
        ROUNDS: rounds[: rounds.rfind(b"\n") + 1],  # without a line that a crash cut short
        **{journal_entry(name): content for name, content in journals.items()},
    }


def _versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in _NAMED_PACKAGES}
    return {"fedpriv": __version__, "python": platform.python_version(), **packages}
