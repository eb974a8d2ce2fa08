"""What Prometheus reads of a hospital, if its admin wants that: the link, the budget, and what was refused.

Nothing here depends on an image, on how many there are, or on how long training takes: whoever scrapes may be
somebody else than whoever may see patients' data. So the usual figures of a process (seconds of CPU, memory)
are left out, too.
"""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

from cryptography import x509

from fedpriv import __version__
from fedpriv.metrics import counter, gauge
from fedpriv.node.budget import budget_of, charges_of
from fedpriv.node.events import Close, Refuse
from fedpriv.node.state import NodeState
from fedpriv.secagg.refusal import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from fedpriv.identity.roster import Roster
    from fedpriv.node.budget import Budget
    from fedpriv.node.home import NodeHome
    from fedpriv.node.journal import Journal
    from fedpriv.node.state import Activity


class NodeMetrics:
    """Gives every metric of a node at work."""

    def __init__(self, home: NodeHome, roster: Roster, journal: Journal, activity: Activity) -> None:
        self._home = home
        self._journal = journal
        self._activity = activity
        authority = x509.load_pem_x509_certificate(roster.coordinator.ca_certificate.encode())
        self._authority_expires_s = authority.not_valid_after_utc.timestamp()
        self._budget: tuple[int, Budget] | None = None

    def look(self) -> Iterator[Metric]:
        """Every metric, now."""
        name, state = self._home.config.name, self._activity.state
        yield gauge(
            "fedpriv_info", "The installed version.", [({"version": __version__, "hospital": name}, 1)]
        )
        yield gauge(
            "fedpriv_state",
            "1 for what the node is doing, 0 for what it is not.",
            [({"state": other.value}, int(other is state)) for other in NodeState],
        )
        yield from self._of_journal()
        yield gauge(
            "fedpriv_certificate_expires_timestamp_seconds",
            "When the authority that the roster pins ends, in Unix time.",
            [({"certificate": "authority"}, self._authority_expires_s)],
        )
        free = shutil.disk_usage(self._home.folder).free
        yield gauge("fedpriv_disk_free_bytes", "Room on the disk of the node's home.", [({}, free)])

    def _of_journal(self) -> Iterator[Metric]:
        rows = [row.event for row in self._journal.rows]
        refused = Counter(RefusalCode(event.code).name for event in rows if isinstance(event, Refuse))
        budget = self._spent()
        of = {"dataset": budget.dataset}
        closed = sum(isinstance(event, Close) for event in rows)
        yield counter("fedpriv_rounds_closed", "Rounds that ended with a receipt.", [({}, closed)])
        yield counter("fedpriv_rounds_charged", "Rounds that the dataset was charged.", [(of, budget.rounds)])
        yield counter(
            "fedpriv_refusals",
            "Refusals in the journal, by code.",
            [({"code": code}, count) for code, count in refused.items()],
        )
        left = max(0.0, budget.largest_epsilon - budget.epsilon)
        yield gauge(
            "fedpriv_epsilon_spent",
            "Epsilon per unit, composed, at the policy's delta.",
            [(of, budget.epsilon)],
        )
        yield gauge("fedpriv_epsilon_left", "What the policy leaves of it.", [(of, left)])
        yield counter("fedpriv_journal_rows", "Rows of the journal.", [({}, len(rows))])

    def _spent(self) -> Budget:
        """The budget, composed anew only when a charge was added: that takes a second."""
        rows = self._journal.rows
        charges = len(charges_of(rows, self._home.config.dataset.name))
        if self._budget is None or self._budget[0] != charges:
            found = budget_of(rows, self._home.config.dataset.name, self._home.config.policy)
            self._budget = (charges, found)
        return self._budget[1]
