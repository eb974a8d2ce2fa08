import pytest

from fedpriv.audit.attack.inversion import RECORDS
from fedpriv.audit.attack.networks import CNN_SIZE
from fedpriv.audit.attack.public_smears import public_records
from fedpriv.audit.attack.subjects import small_studies


@pytest.fixture(scope="session")
def study():
    return small_studies()[0]


@pytest.fixture(scope="session")
def smears(study):
    """A line-up and public images, drawn once; only ever to be read."""
    return public_records(study, RECORDS, CNN_SIZE)
