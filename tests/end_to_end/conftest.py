"""Federations of real processes: the SuperLink, TLS on loopback, one process a hospital."""

import pytest
from support.federations import QUICK, small_study

from fedpriv.cli.local_federation import found
from fedpriv.node.home import Dataset
from fedpriv.smears.generate import generate


@pytest.fixture(scope="session")
def smears(tmp_path_factory):
    """Drawn smears of three hospitals, 8 patients each, 3 images a patient."""
    folder = tmp_path_factory.mktemp("drawn") / "smears"
    return generate(folder, hospitals=3, patients_per_hospital=8, images_per_patient=3, seed=5)


@pytest.fixture(scope="session")
def datasets(smears):
    """Each hospital's rows of the manifest."""
    return {name: Dataset(name=f"smears-{name}", images=str(smears.folder), hospital=name) for name in "ABC"}


@pytest.fixture(scope="module")
def federation(tmp_path_factory, datasets):
    """A federation whose processes run; tests of one module share it, in the order in which they stand."""
    with found(tmp_path_factory.mktemp("federation"), small_study(), datasets, QUICK) as running:
        running.start()
        yield running
