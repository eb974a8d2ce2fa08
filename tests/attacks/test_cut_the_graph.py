"""Above 100 hospitals masks join k neighbours: the coordinator drops just those that isolate a victim.

It knows the whole graph, drops every neighbour of the victim and hopes to open the victim alone. The
threshold of a neighbourhood lets no hospital be opened whose neighbours on one side are all gone.
"""

import itertools

import numpy as np
import pytest
from support.attacker import self_mask_of
from support.federation import Federation, terms_for

from fedpriv.secagg import graph
from fedpriv.secagg.graph import Graph, draw_graph, sparse_parameters
from fedpriv.secagg.key_agreement import pair_mask
from fedpriv.secagg.masks import add_masks
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.ring import pack, unpack

N, COLLUDERS, DROPOUTS = 104, 2, 15


@pytest.fixture(scope="module")
def sparse_terms():
    return terms_for(N, colluders=COLLUDERS, dropouts=DROPOUTS, smallest_cohort=N - DROPOUTS)


def shares_of(network, owner, present):
    """How many shares of the secrets of ``owner`` the ``present`` hospitals hold."""
    return len({owner, *network.neighbours(owner)} & present)


def can_open_a_part(network, dropped, colluders):
    """Whether the survivors fall apart into pieces of which one can be opened, for these sets."""
    ring = network.ring
    honest = [name for name in ring if name not in dropped and name not in colluders]
    survivors = set(ring) - dropped
    pieces = connected(network, honest)
    return len(pieces) > 1 and any(
        all(shares_of(network, name, survivors & (piece | colluders)) >= network.threshold for name in piece)
        for piece in pieces
    )


def connected(network, names):
    left, pieces = set(names), []
    while left:
        piece, edge = set(), {left.pop()}
        while edge:
            piece |= edge
            edge = {n for name in edge for n in network.neighbours(name)} & left
            left -= edge
        pieces.append(piece)
    return pieces


def cuts(network, dropouts):
    """Every way to drop two runs of neighbours: the only cuts of such a ring."""
    n, reach = len(network.ring), network.reach
    for first in range(0, n, 7):
        for gap in range(1, n // 2, 5):
            runs = [(first + step) % n for step in range(reach)]
            runs += [(first + reach + gap + step) % n for step in range(reach)]
            if len(set(runs)) <= dropouts:
                yield {network.ring[place] for place in runs}


def test_no_cut_opens_a_part(sparse_terms):
    network = draw_graph(sparse_terms, sparse_terms.hospitals, bytes(32))
    assert network.reach * 2 < N - 1
    for dropped in cuts(network, N):
        colluders = set(sorted(dropped)[:COLLUDERS])  # inside the cut, where they hold most shares
        assert not can_open_a_part(network, dropped - colluders, colluders)


def test_control_a_low_threshold_lets_a_cut_open_a_part(sparse_terms):
    network = draw_graph(sparse_terms, sparse_terms.hospitals, bytes(32))
    weak = Graph(network.ring, network.reach, threshold=2)
    assert any(can_open_a_part(weak, dropped, set()) for dropped in cuts(weak, N))


def test_control_the_open_part_really_gives_its_updates(sparse_terms):
    """What "opened" means: with the self-masks of a cut-off pair, the sum of the two is in clear."""
    network = Graph(sparse_terms.hospitals, reach=3, threshold=2)
    pair = sparse_terms.hospitals[50:52]
    rest = {name for name in network.neighbours(pair[0]) + network.neighbours(pair[1]) if name not in pair}
    assert len(rest) <= DROPOUTS
    federation = Federation(sparse_terms)
    federation.coordinator.open(federation.model)
    context = b"c" * 32
    total = np.zeros(sparse_terms.words, dtype=np.uint64)
    keys = {name: machine._keys.mask_key for name, machine in federation.hospitals.items()}
    for own in pair:
        words = pack(federation.values[own], sparse_terms.layout)
        masks = [
            pair_mask(keys[own], keys[peer].public_key().public_bytes_raw(), own, peer, context)
            for peer in network.neighbours(own)
        ]
        add_masks(words, masks)
        total += words
    known = [
        pair_mask(keys[peer], keys[own].public_key().public_bytes_raw(), peer, own, context)
        for own in pair
        for peer in network.neighbours(own)
        if peer in rest
    ]
    add_masks(total, known)
    np.testing.assert_array_equal(
        unpack(total, sparse_terms.parameters, sparse_terms.layout), federation.expected(pair)
    )
    assert self_mask_of(pair[0], bytes(32), context).seed != self_mask_of(pair[1], bytes(32), context).seed


def test_the_order_of_the_ring_is_nobodys_choice(sparse_terms):
    """Another advertisement anywhere gives an unrelated ring."""
    rings = {draw_graph(sparse_terms, sparse_terms.hospitals, bytes([i]) * 32).ring for i in range(50)}
    assert len(rings) == 50
    firsts = [ring[0] for ring in rings]
    assert len(set(firsts)) > 25  # 50 uniform draws of 104: fewer than 26 kinds has chance below 1e-9


def test_a_sparse_round_is_exact_with_dropouts(sparse_terms):
    federation = Federation(sparse_terms)
    lost = {Stage.SHARE: sparse_terms.hospitals[3:6], Stage.UPLOAD: sparse_terms.hospitals[10:14]}
    total = federation.run(lost)
    survivors = set(sparse_terms.hospitals) - set(itertools.chain(*lost.values()))
    assert 2 * federation.coordinator._graph.reach < N - 1
    np.testing.assert_array_equal(total, federation.expected(survivors))


def test_where_no_sparse_graph_is_safe_everybody_masks_with_everybody():
    assert sparse_parameters(101, 30, 30) is None
    terms = terms_for(101, colluders=30, dropouts=30, smallest_cohort=71)
    network = draw_graph(terms, terms.hospitals, bytes(32))
    assert len(network.neighbours("h0050")) == 100
    assert network.threshold == terms.threshold
    assert graph.COMPLETE_UP_TO == 100
