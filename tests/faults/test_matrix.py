"""Cells of the fault matrix (matrix.toml) with real processes; `make bench-faults` runs every one of them."""

import pytest
from support.fault_cells import Trial, cases
from support.faulty import FaultyFederation, faulty_study, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "all faults can be made here")

HERE = [case for case in cases() if case.in_tests]


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faulty") / "federation"
    with FaultyFederation.make(folder, faulty_study(100), parameters=1_000) as made:
        made.start()
        yield made


@pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
def test_a_fault_ends_as_the_table_says(federation, case):
    trial = Trial(federation, case)
    trial.run()
    assert trial.problems == []


def test_the_table_names_every_process_with_every_fault_that_it_can_have():
    """Of the SuperLink, the lines, the clock and the keys are those of the coordinator, its host."""
    found = {(case.cell.who, case.cell.fault) for case in cases()}
    anywhere = ["SIGKILL", "SIGSTOP", "disk full"]
    of_a_host = ["cut", "delay", "loss", "read-only home", "corrupted journal", "wrong roster"]
    expected = {(who, fault) for who in ("node", "coordinator", "superlink") for fault in anywhere}
    expected |= {(who, fault) for who in ("node", "coordinator") for fault in of_a_host}
    expected |= {(who, "clock a day ahead") for who in ("node", "coordinator")}
    assert expected <= found


def test_every_tested_stage_is_one_of_its_row():
    stages = {id(case.cell): {other.stage for other in cases() if other.cell == case.cell} for case in HERE}
    assert all(set(case.cell.test) <= stages[id(case.cell)] for case in HERE)
    assert len(HERE) >= 9
