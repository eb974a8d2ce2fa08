"""The benchmarks of the masked sum run, on sizes that take no time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script, *arguments):
    command = [sys.executable, BENCHMARKS / script, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.mark.parametrize("memory", [[], ["--memory"]], ids=["time", "memory"])
def test_a_simulated_round_is_exact(tmp_path, memory):
    out = tmp_path / "scale.json"
    run("scale.py", "--hospitals", "4", "10", "--parameters", "3000", "--out", out, *memory)
    sizes = json.loads(out.read_text())
    assert [size["hospitals"] for size in sizes] == [4, 10]
    assert all(size["exact"] for size in sizes)
    run("scale.py", "--draw", out, tmp_path / "scale.svg")
    assert (tmp_path / "scale.svg").read_text().startswith("<?xml")


def test_masking_is_measured_on_both_sides(tmp_path):
    out = tmp_path / "masking.json"
    table = run("masking.py", "--hospitals", "5", "--parameters", "3000", "--repetitions", "1", "--out", out)
    cells = json.loads(out.read_text())["cells"]
    assert [(cell["side"], cell["dropouts"]) for cell in cells] == [
        ("hospital", 0),
        ("coordinator", 0),
        ("coordinator", 1),
    ]
    assert all(cell["fedpriv_s"] > 0 < cell["flower_s"] for cell in cells)
    assert "Flower" in table
