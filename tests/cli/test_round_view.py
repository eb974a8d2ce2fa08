"""The live view: what it says on a terminal, and line by line elsewhere."""

import io

import msgspec
import pytest
from rich.console import Console
from support.memory import MemoryFederation
from support.studies import FULL_BATCH, small_study

from fedpriv.cli.round_view import RoundView, claim_lines, summary_of, time_line
from fedpriv.coordinator import events
from fedpriv.coordinator.rounds import claim_of
from fedpriv.model.folder import Claim
from fedpriv.secagg.messages import Stage


@pytest.fixture
def federation(tmp_path):
    made = MemoryFederation(tmp_path, small_study(FULL_BATCH))
    yield made
    made.close()


def panel_of(view):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(view._panel())
    return console.export_text()


def test_the_panel_says_who_is_in_which_stage_and_what_it_cost():
    view = RoundView()
    view.show(events.Waiting(("A",), ("B", "C")))
    assert "waiting for hospitals" in panel_of(view)
    view.show(events.RoundBegan(7, 1, 8, ("A", "B"), ("C",)))
    view.show(events.StageBegan(7, Stage.UPLOAD, ("A", "B")))
    view.show(events.HospitalAnswered(7, Stage.UPLOAD, "A"))
    text = panel_of(view)
    assert "round 7 (1 of 8): training and masked update" in text
    for name, state in (("A", "answered"), ("B", "asked"), ("C", "absent")):
        assert any(name in line and state in line for line in text.splitlines())
    assert "left" not in text
    view.show(events.RoundBegan(8, 2, 8, ("A", "B"), ("C",)))
    assert "s left" in panel_of(view)


def test_elsewhere_it_is_a_line_a_round_and_a_line_a_loss(federation, capsys):
    federation.link.deaf["B"] = Stage.UPLOAD
    with RoundView() as view:
        coordinator = federation.coordinator()
        coordinator._observe = view.show
        coordinator.run_round(1, 2)
        federation.link.deaf |= dict.fromkeys("AB", Stage.SHARE)
        coordinator.run_round(2, 2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "round 1: B is out at training and masked update: did not answer in time"
    assert lines[1].startswith("round 1: cohort A C, ")
    assert "epsilon so far" in lines[1]
    assert lines[-1].startswith("round 2: FAILED after ")
    assert "at least 2 are needed" in lines[-1]


def test_quiet_says_nothing(federation, capsys):
    with RoundView(quiet=True) as view:
        coordinator = federation.coordinator()
        coordinator._observe = view.show
        coordinator.run_round(1, 1)
    assert capsys.readouterr() == ("", "")


def test_the_summary_is_what_a_script_needs(federation):
    ended = federation.rounds(2)
    summary = summary_of(federation.run, ended)
    assert summary["rounds_complete"] == 2
    assert summary["epsilon"] == pytest.approx(claim_of(federation.run).epsilon)
    assert [line["cohort"] for line in summary["rounds"]] == [["A", "B", "C"]] * 2
    assert set(summary["rounds"][0]["seconds"]) == {stage.name.lower() for stage in Stage}
    upload = sum(line["seconds"]["upload"] for line in summary["rounds"])
    assert summary["seconds"]["upload"] == pytest.approx(upload)


def test_the_time_divides_into_masked_sum_and_training(federation):
    federation.rounds(1)
    ended = federation.run.completed()[0]
    slow = msgspec.structs.replace(ended, round=2, seconds={"advertise": 20.0, "upload": 70.0, "agree": 10.0})
    federation.run.append(slow)
    assert time_line(federation.run) == "rounds took 100 s: the masked sum 30 s (30%), training the rest"


def test_a_model_without_noise_promises_nothing():
    (line,) = claim_lines(Claim(unit="image", noise="none", delta=1e-5))
    assert "nothing is promised" in line
