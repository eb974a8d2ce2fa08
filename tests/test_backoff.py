"""Pauses double up to the last one, and no two callers keep step."""

from fedpriv.backoff import Backoff


def test_pauses_double_up_to_the_last_and_are_cut_by_half_at_most():
    for _ in range(100):
        backoff = Backoff(1.0, 5.0)
        for whole_s in (1.0, 2.0, 4.0, 5.0, 5.0):
            assert whole_s / 2 <= backoff.pause_s() <= whole_s


def test_after_a_success_it_begins_anew():
    backoff = Backoff(1.0, 60.0)
    for _ in range(10):
        backoff.pause_s()
    backoff.reset()
    assert backoff.pause_s() <= 1.0


def test_callers_that_failed_together_come_back_apart():
    # 40 numbers of 53 bits: two that are equal would be a fixed pause.
    assert len({Backoff(1.0, 1.0).pause_s() for _ in range(40)}) == 40
