"""The last words of a run: who is in which round, what was lost, and no success that was none."""

import pytest
from support.memory import MemoryFederation
from support.studies import FULL_BATCH, small_study

from fedpriv.cli.final_word import all_complete, contribution_lines, first_line, spans
from fedpriv.cli.round_view import summary_of
from fedpriv.secagg.messages import Stage

EQUAL = (("A = 100", "A = 80"), ("C = 60", "C = 80"))


@pytest.fixture
def federation(tmp_path):
    """A declares 100 of 240 images, B 80, C 60."""
    made = MemoryFederation(tmp_path, small_study(FULL_BATCH))
    yield made
    made.close()


def lose(federation, names, stage=Stage.SHARE):
    """One round in which ``names`` fall silent at ``stage``."""
    federation.link.deaf = dict.fromkeys(names, stage)
    ended = federation.round()
    federation.link.deaf = {}
    return ended


def test_a_run_that_lost_nobody_says_how_many_rounds(federation):
    ended = federation.rounds(2)
    assert first_line(federation.run, ended) == "2 of 2 rounds complete"
    assert contribution_lines(federation.run) == [f"{name} is in 2 of 2 complete rounds" for name in "ABC"]


def test_one_failed_round_is_no_exit_code_0(federation):
    ended = [federation.round(), lose(federation, "AB")]
    assert all_complete(ended[:1])
    assert not all_complete(ended)


def test_a_lost_largest_hospital_stands_first_even_if_every_round_was_complete(federation):
    ended = [lose(federation, "A"), federation.round(), lose(federation, "A")]
    said = "LOST THE LARGEST HOSPITAL: A (100 of 240 images) is missing from 2 of 3 complete rounds; "
    assert first_line(federation.run, ended) == said + "3 of 3 rounds complete"
    assert contribution_lines(federation.run)[0] == "A is in 1 of 3 complete rounds: 2"
    summary = summary_of(federation.run, ended)
    assert next(iter(summary.items())) == ("result", said + "3 of 3 rounds complete")
    assert summary["lost_largest"] == {"A": 2}
    assert summary["contributions"] == {"A": (2,), "B": (1, 2, 3), "C": (1, 2, 3)}


def test_what_an_earlier_command_of_the_run_lost_is_not_forgotten(federation):
    lose(federation, "A")
    assert first_line(federation.run, [federation.round()]).startswith("LOST THE LARGEST HOSPITAL: A ")


def test_a_lost_smaller_hospital_is_named_with_its_rounds_but_not_first(federation):
    ended = [federation.round(), lose(federation, "C"), federation.round(), federation.round()]
    assert first_line(federation.run, ended) == "4 of 4 rounds complete"
    assert contribution_lines(federation.run)[2] == "C is in 3 of 4 complete rounds: 1, 3-4"


def test_where_all_are_equally_large_none_is_the_largest(tmp_path):
    federation = MemoryFederation(tmp_path, small_study(FULL_BATCH, *EQUAL))
    ended = [lose(federation, "A")]
    federation.close()
    assert first_line(federation.run, ended) == "1 of 1 rounds complete"


def test_failed_rounds_are_no_contribution_and_no_success(federation):
    ended = [lose(federation, "AB", Stage.AGREE)]
    assert first_line(federation.run, ended) == "0 of 1 rounds complete, 1 FAILED, there is no model"
    (line,) = contribution_lines(federation.run)
    assert line == "no hospital contributed to anything: no round was complete"
    ended.append(federation.round())
    assert first_line(federation.run, ended) == "1 of 2 rounds complete, 1 FAILED"
    assert contribution_lines(federation.run)[0] == "A is in 1 of 1 complete rounds"


def test_a_command_that_gave_up_says_so(federation):
    ended = [lose(federation, "AB") for _ in range(3)]
    assert "no more were tried after 3 failures in a row" in first_line(federation.run, ended)


@pytest.mark.parametrize(
    ("numbers", "among", "words"),
    [
        ([], [1, 2], ""),
        ([1, 2, 3], [1, 2, 3], "1-3"),
        ([1, 3], [1, 2, 3], "1, 3"),
        ([2, 5], [2, 5, 6], "2-5"),  # rounds 3 and 4 failed: nobody is missing in between
        ([1, 2, 4, 5, 7], [1, 2, 3, 4, 5, 6, 7], "1-2, 4-5, 7"),
    ],
)
def test_spans(numbers, among, words):
    assert spans(numbers, among) == words
