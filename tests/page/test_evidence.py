import numpy as np
import pytest

from fedpriv.model.evidence_map import GRID, Place
from fedpriv.page.evidence import LEVELS, drawn


def test_squares_are_lit_in_a_few_steps_and_what_speaks_against_gets_a_ring():
    evidence = np.zeros((GRID, GRID))
    evidence[1, 6], evidence[2, 6], evidence[7, 0] = 2.0, 1.0, -2.0
    found = drawn("Early", evidence)
    by_place = {(one.x, one.y): one for one in found.squares}
    assert len(by_place) == GRID**2
    darkest = by_place[3, 3].dark
    assert by_place[6, 1].dark == 0
    assert by_place[6, 2].dark == pytest.approx(darkest / 2)
    assert by_place[0, 7].dark == darkest
    assert by_place[0, 7].ring > 0
    assert [one for one in found.squares if one.ring] == [by_place[0, 7]]
    assert found.has_rings
    assert (found.name, found.place) == ("Early", Place.UPPER_RIGHT)


def test_no_more_than_the_steps_leave_the_server():
    evidence = np.random.default_rng(0).normal(size=(GRID, GRID))
    found = drawn("Pro", evidence)
    assert len({(one.dark, one.ring) for one in found.squares}) <= 2 * LEVELS + 1
    assert drawn("Pro", 3.7 * evidence).squares == found.squares  # its size does not, either


def test_a_field_without_evidence_stays_dark():
    found = drawn("Pre", np.zeros((GRID, GRID)))
    assert len({(one.dark, one.ring) for one in found.squares}) == 1
    assert found.place is Place.NOWHERE
    assert not found.has_rings
