import shutil
import tempfile
import time
from pathlib import Path

import pytest
from support.memory import MemoryFederation
from support.studies import FULL_BATCH, small_study

from fedpriv.audit.bundle import read_bundle
from fedpriv.audit.claims import Claims
from fedpriv.audit.verify import verify
from fedpriv.coordinator.archive import pack, unpack
from fedpriv.coordinator.bundle import CONTENTS, sealed, write_bundle
from fedpriv.node.export import export_for


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A federation of three that has run two rounds, one of them without C; only ever to be copied."""
    folder = tmp_path_factory.mktemp("federation")
    federation = MemoryFederation(folder / "all", small_study(FULL_BATCH))
    federation.round()
    federation.link.deaf["C"] = "offline"
    federation.round()
    federation.link.deaf.clear()
    federation.close()
    return federation, folder / "all"


@pytest.fixture
def desk(finished, tmp_path):
    """A copy of it on an auditor's desk, to be tampered with."""
    federation, original = finished
    shutil.copytree(original, tmp_path / "desk")
    return Desk(federation, tmp_path / "desk")


@pytest.fixture(scope="module")
def packed(finished):
    """The bundle of that run with the journals of all three, ready to be tampered with."""
    return Packed(finished[0])


class Packed:
    """The entries of an honest bundle, and what comes of it once they were changed."""

    def __init__(self, federation):
        self.federation = federation
        self.run = federation.run.run
        journals = {name: export_for(member.home, self.run) for name, member in federation.members.items()}
        self.path = write_bundle(federation.run, federation.roster, federation.operator, journals)
        self.bytes = self.path.read_bytes()
        self.entries = unpack(self.bytes, "the honest bundle")

    def sealed(self, changes):
        """The bundle with entries replaced (None: removed), signed by the coordinator as if honest."""
        entries = {path: content for path, content in self.entries.items() if path != CONTENTS} | changes
        kept = {path: content for path, content in entries.items() if content is not None}
        return pack(sealed(self.run, kept, self.federation.operator))

    def verdict(self, content):
        """What verification of a file with these bytes comes to."""
        claims, began = Claims(), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bundle.zip"
            path.write_bytes(content)
            found = read_bundle(claims, path)
        verdict = verify(claims, found.roster, found.run, found.journals)
        assert time.process_time() - began < 5  # whatever was done to it, an auditor does not wait
        return verdict

    def failed(self, changes):
        """The records that fail after these changes, with their reasons."""
        failed = {}
        for failure in self.verdict(self.sealed(changes)).failures:
            failed.setdefault(failure.record, []).append(failure.reason)
        return {record: "; ".join(reasons) for record, reasons in failed.items()}


class Desk:
    """What was copied: a run, three homes, and how to edit them."""

    def __init__(self, federation, folder):
        self.federation = federation
        self.folder = folder
        self.run = folder / "runs" / federation.run.folder.name

    def home(self, name):
        return self.folder / name

    @property
    def record(self):
        return self.run / "rounds.jsonl"
