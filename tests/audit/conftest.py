import shutil

import pytest
from support.memory import MemoryFederation
from support.studies import FULL_BATCH, small_study


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
