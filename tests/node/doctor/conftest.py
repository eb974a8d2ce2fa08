"""A home that is in order, made once, and copied for each test."""

import shutil

import pytest
from support.examined import OPERATOR, OTHERS, SECRETS, Door, approve, study
from support.rosters import pin_here, sealed

from fedpriv import diagnosis
from fedpriv.identity import keys
from fedpriv.identity.enrolment import collect, new_request
from fedpriv.identity.roster import Operator
from fedpriv.node.home import Config, Dataset, init_home, open_home
from fedpriv.node.policy import Policy
from fedpriv.smears.generate import generate


@pytest.fixture(autouse=True)
def clock_is_kept(monkeypatch):
    """Whether a time server keeps the clock of the machine that runs the tests is no matter of theirs."""
    monkeypatch.setattr(diagnosis, "clock_is_kept", lambda: True)


@pytest.fixture(scope="session")
def door(tmp_path_factory):
    opened = Door(tmp_path_factory.mktemp("door") / "tls", SECRETS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def smears(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smears") / "all"
    generate(folder, hospitals=1, patients_per_hospital=8, images_per_patient=2, seed=3)
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory, door, smears):
    """A home that is in order: 16 images of A, all of them trained on, and a study that declares them."""
    folder = tmp_path_factory.mktemp("home") / "A"
    identity = keys.new_identity("A")
    keys.save(identity, folder / "identity")
    home = init_home(
        folder,
        Config(
            name="A",
            coordinator=f"127.0.0.1:{door.port}",
            dataset=Dataset(name="smears", images=str(smears), hospital="A"),
            policy=Policy(smallest_cohort=2, largest_epsilon=8.0, largest_delta=1e-5, colluders=0),
        ),
    )
    operator = Operator("consortium", OPERATOR.signing_public_key, SECRETS.authority.certificate_pem)
    roster = collect("test", operator, [new_request(one) for one in (identity, *OTHERS)])
    pin_here(folder, sealed(roster, OPERATOR, identity, *OTHERS))
    approve(home, study())
    return folder


@pytest.fixture
def home(template, tmp_path):
    return open_home(shutil.copytree(template, tmp_path / "A"))
