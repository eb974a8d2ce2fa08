"""Who masks with whom: everybody up to 100 hospitals, above that k neighbours nobody can choose.

The sparse graph is that of Bell et al. 2020 (eprint 2020/704), a ring of the hospitals in random order
in which each one is joined to the k/2 nearest on either side. The order comes from a hash of all signed
advertisements, so no hospital and no coordinator picks it. Both could still *try* many: the coordinator
by leaving hospitals out, a colluder by advertising again. The tails below therefore leave 2^60 tries
and after them a chance of 2^-40.

A hospital and its k neighbours hold the shares of its secrets; t_k of these m = k + 1 rebuild one.
With C colluders among the k neighbours, and C_h among the k/2 on one side, t_k is chosen such that,
but for that chance, for every hospital

    2 t_k > m + C               two lists of survivors never both find t_k shares of its secrets
    t_k > k/2 + 1 + C_h         no part of the ring can be cut off and summed alone

The second holds for dropouts that the coordinator picks with full knowledge of the graph: a part that
is cut off ends in a hospital with k/2 neighbours on one side that are dropped or colluding, so at most
itself, k/2 on the other side and C_h colluders would give a share of its self-mask. Colluders are fixed
before the order is known. Finally t_k of the neighbours must still be there, but for a chance of
2^-20 a round, when ``dropouts`` hospitals drop at random; if they do not, the round fails closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

from fedpriv.secagg.terms import RoundTerms, digest

COMPLETE_UP_TO = 100
SECURITY_BITS = 40
GRINDING_BITS = 60
FAILURE_BITS = 20


@dataclass(frozen=True, slots=True)
class Graph:
    """The hospitals in the order of the ring, each joined to ``reach`` on either side.

    ``threshold`` of a hospital and its neighbours rebuild a secret of that hospital.
    """

    ring: tuple[str, ...]
    reach: int
    threshold: int

    def neighbours(self, name: str) -> tuple[str, ...]:
        """The hospitals that share a mask with ``name``, sorted."""
        n, place = len(self.ring), self.ring.index(name)
        around = {self.ring[(place + step) % n] for step in range(-self.reach, self.reach + 1)}
        return tuple(sorted(around - {name}))


def draw_graph(terms: RoundTerms, advertised: tuple[str, ...], cohort: bytes) -> Graph:
    """The graph over the ``advertised`` hospitals, sorted, of the round with this cohort digest."""
    n = len(advertised)
    parameters = sparse_parameters(n, terms.colluders, terms.dropouts) if n > COMPLETE_UP_TO else None
    if parameters is None:
        return Graph(advertised, reach=n // 2, threshold=terms.threshold)
    degree, threshold = parameters
    ring = sorted(advertised, key=lambda name: digest(b"fedpriv ring v1", cohort, name.encode()))
    return Graph(tuple(ring), reach=degree // 2, threshold=threshold)


@lru_cache(maxsize=64)
def sparse_parameters(n: int, colluders: int, dropouts: int) -> tuple[int, int] | None:
    """The smallest even degree k and its t_k for n hospitals, or None if only all-with-all is safe.

    Exact integer arithmetic, with a union bound over the n hospitals, their two sides and the whole.
    """
    security = 3 * n << (SECURITY_BITS + GRINDING_BITS)
    failure = n << FAILURE_BITS
    for degree in range(2, n - 1, 2):
        around = _quantile(n - 1, colluders, degree, security)
        one_side = _quantile(n - 1, colluders, degree // 2, security)
        threshold = max((degree + 1 + around) // 2 + 1, degree // 2 + 2 + one_side)
        missing = _quantile(n - 1, dropouts, degree, failure)
        if threshold <= degree - missing:
            return degree, threshold
    return None


def _quantile(population: int, marked: int, drawn: int, odds: int) -> int:
    """The smallest x with P[X > x] < 1 / odds, X hypergeometric: the marked ones among those drawn."""
    everything = comb(population, drawn)
    tail = 0
    for x in range(min(marked, drawn), 0, -1):
        tail += comb(marked, x) * comb(population - marked, drawn - x)
        if tail * odds >= everything:
            return x
    return 0
