import pytest
from support.studies import FULL_BATCH, small_study

from fedpriv.identity.keys import new_identity
from fedpriv.node.journal import Journal
from fedpriv.node.policy import Policy


@pytest.fixture
def policy():
    return Policy(smallest_cohort=2, largest_epsilon=8.0, largest_delta=1e-5, colluders=0)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path, new_identity("A")) as opened:
        yield opened


@pytest.fixture(scope="session")
def study():
    """Everybody is in every step: the accounting of a plain Gaussian takes a tenth of the time."""
    return small_study(FULL_BATCH)
