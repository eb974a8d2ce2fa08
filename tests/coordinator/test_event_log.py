"""What rounds leave in the log and in the count of bytes."""

import logging
from types import SimpleNamespace

import pytest

from fedpriv.coordinator import events
from fedpriv.coordinator.event_log import EventLog
from fedpriv.coordinator.traffic import Traffic, traffic_of
from fedpriv.secagg.messages import Stage

RUN = SimpleNamespace(run=b"r" * 16)


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="fedpriv")

    def observe(*happened):
        log = EventLog(RUN)
        for event in happened:
            log.observe(event)
        return [
            (record.event, record.levelname, record.getMessage(), record.about) for record in caplog.records
        ]

    return observe


def over(number, outcome, reason="", epsilon=2.0):
    ended = SimpleNamespace(round=number, outcome=outcome, cohort=("A", "B"), reason=reason)
    return events.RoundOver(ended, epsilon)


def test_a_round_is_told_with_run_round_stage_and_hospital(told):
    dropped = events.HospitalDropped(3, Stage.UPLOAD, "B", "did not answer in time")
    lines = told(
        events.RoundBegan(3, 1, 1, ("A", "B"), ()),
        events.StageBegan(3, Stage.UPLOAD, ("A", "B")),
        dropped,
        events.StageOver(3, Stage.UPLOAD, 1.5, 10, 20),
        over(3, "complete"),
        over(4, "failed", "too few"),
    )
    assert [line[:3] for line in lines] == [
        ("round_began", "INFO", "round 3 began with A B"),
        ("hospital_dropped", "WARNING", "round 3: B is out at upload: did not answer in time"),
        ("stage_over", "INFO", "round 3: upload took 1.500 s"),
        ("round_complete", "INFO", "round 3 is complete: cohort A B, epsilon so far 2.000"),
        ("round_failed", "ERROR", "round 4 failed: too few"),
    ]
    assert all(line[3]["run"] == RUN.run.hex() for line in lines)
    assert lines[1][3]["hospital"] == "B"
    assert (lines[2][3]["bytes_sent"], lines[2][3]["bytes_received"]) == (10, 20)


def test_a_wait_is_told_once_for_whom_it_is(told):
    one, two = events.Waiting(("A",), ("B", "C")), events.Waiting(("A", "B"), ("C",))
    assert [line[2] for line in told(one, one, one, two, two)] == ["waiting for B C", "waiting for C"]


def test_bytes_add_up_over_restarts(tmp_path):
    path = tmp_path / "traffic.json"
    assert traffic_of(path) == {}
    for _ in range(2):
        traffic = Traffic(path)
        traffic.observe(events.StageOver(1, Stage.UPLOAD, 1.0, 10, 200))
        traffic.observe(events.StageBegan(1, Stage.AGREE, ("A",)))
        traffic.observe(events.StageOver(1, Stage.AGREE, 1.0, 1, 2))
    assert traffic_of(path) == {
        "upload": {"sent": 20, "received": 400},
        "agree": {"sent": 2, "received": 4},
    }


def test_a_count_that_cannot_be_kept_costs_no_round(tmp_path):
    Traffic(tmp_path / "none" / "traffic.json").observe(events.StageOver(1, Stage.UPLOAD, 1.0, 1, 1))
    (tmp_path / "traffic.json").write_text("{")
    assert traffic_of(tmp_path / "traffic.json") == {}
