import pytest

from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import Operator
from fedpriv.identity.tls import new_authority


@pytest.fixture(scope="session")
def identities():
    return {name: new_identity(name) for name in "ABC"}


@pytest.fixture(scope="session")
def operator():
    return Operator(
        "coordinator", new_identity("coordinator").signing_public_key, new_authority("demo").certificate_pem
    )
