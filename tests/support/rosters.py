"""Rosters that everybody has countersigned, as the ceremony leaves them."""

import datetime as dt

from fedpriv.identity.countersigning import countersign, with_countersignatures
from fedpriv.node.pinning import pin

NOW = dt.datetime.now(dt.UTC)


def sealed(roster, *identities):
    """``roster`` with the countersignature of each of ``identities``: new keys, and old ones that end."""
    return with_countersignatures(roster, [countersign(roster, identity) for identity in identities])


def pin_here(folder, roster):
    """Pin ``roster`` in a hospital's home."""
    pin(folder, roster, NOW)
