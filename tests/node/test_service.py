"""What a node does between its images and its first round: one name for them, or nothing starts."""

import pytest
from msgspec.structs import replace

from fedpriv.errors import PolicyRefused
from fedpriv.identity.keys import new_identity
from fedpriv.node import service
from fedpriv.node.budget import reserve
from fedpriv.node.events import Approve
from fedpriv.node.home import Config, Dataset, NodeHome
from fedpriv.node.journal import Journal
from fedpriv.node.policy import Policy
from fedpriv.node.register import REGISTER_FOLDER, load_register
from fedpriv.smears.generate import generate


@pytest.fixture(scope="module")
def smears(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smears") / "all"
    return generate(folder, hospitals=1, patients_per_hospital=4, images_per_patient=1, seed=2)


@pytest.fixture
def home(tmp_path, smears):
    policy = Policy(smallest_cohort=2, largest_epsilon=8.0, largest_delta=1e-5)
    dataset = Dataset(name="smears", images=str(smears.folder))
    return NodeHome(tmp_path, Config(name="A", coordinator="localhost:9", dataset=dataset, policy=policy))


@pytest.fixture
def trained_on(monkeypatch):
    """The images that trainers were made for; TensorFlow is not the subject."""
    images = []
    monkeypatch.setattr(service, "trainer_for", lambda study, name, pixels, *rest: images.append(len(pixels)))
    return images


def prepare(home, journal, study):
    return service._prepare(home, journal, study)


def named(home, name):
    dataset = replace(home.config.dataset, name=name)
    return NodeHome(home.folder, replace(home.config, dataset=dataset))


def test_what_is_trained_on_is_in_the_register_that_charges_will_name(home, study, smears, trained_on):
    with Journal(home.folder, new_identity("A")) as journal:
        prepared = prepare(home, journal, study)
        assert trained_on == [4]
        assert (home.folder / REGISTER_FOLDER / prepared.register.hex()).exists()
        charge_as_prepared(home, journal, study, prepared)
        bound = load_register(home.folder, journal.rows).of("smears")
    assert len(bound.images) == len(bound.patients) == len(smears.entries)


def charge_as_prepared(home, journal, study, prepared):
    journal.append(Approve(study.study.name, study.digest))
    reserve(
        journal,
        home.config.dataset.name,
        study,
        home.config.policy,
        run=bytes(16),
        round_number=1,
        register=prepared.register,
    )


def test_a_new_name_for_charged_images_does_not_start(home, study, trained_on):
    with Journal(home.folder, new_identity("A")) as journal:
        charge_as_prepared(home, journal, study, prepare(home, journal, study))
        with pytest.raises(PolicyRefused, match="charged for images that are in new"):
            prepare(named(home, "new"), journal, study)
        again = prepare(home, journal, study)
        assert again.register == journal.rows[-1].event.register
    assert trained_on == [4, 4]
