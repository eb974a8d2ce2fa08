"""Federations of real processes: the SuperLink, TLS on loopback, one process a hospital."""

import msgspec
import pytest

from fedpriv.cli.local_federation import found
from fedpriv.cli.study import draft
from fedpriv.coordinator.home import Deadlines
from fedpriv.node.home import Dataset
from fedpriv.smears.generate import generate
from fedpriv.study import parse_study

CLASSES = ("Benign", "Early", "Pre", "Pro")
QUICK = Deadlines(join_s=60.0, answer_s=10.0, training_s=20.0)


@pytest.fixture(scope="session")
def smears(tmp_path_factory):
    """Drawn smears of three hospitals, 8 patients each, 3 images a patient."""
    folder = tmp_path_factory.mktemp("drawn") / "smears"
    return generate(folder, hospitals=3, patients_per_hospital=8, images_per_patient=3, seed=5)


@pytest.fixture(scope="session")
def datasets(smears):
    """Each hospital's rows of the manifest."""
    return {name: Dataset(name=f"smears-{name}", images=str(smears.folder), hospital=name) for name in "ABC"}


def small_study(*, rounds=8, **training):
    """A study of three hospitals with 24 images each; noise that makes it cheap, steps that make it quick."""
    study = parse_study(draft("test", dict.fromkeys("ABC", 24), CLASSES), "the study")
    changed = msgspec.structs.replace(study.training, rounds=rounds, local_steps=1, **training)
    return msgspec.structs.replace(study, training=changed).with_noise_multiplier(6.0)


@pytest.fixture(scope="module")
def federation(tmp_path_factory, datasets):
    """A federation whose processes run; tests of one module share it, in the order in which they stand."""
    with found(tmp_path_factory.mktemp("federation"), small_study(), datasets, QUICK) as running:
        running.start()
        yield running
