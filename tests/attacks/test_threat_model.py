"""docs/threat-model.md names every attack here, and every attack bites."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("test_*.py") if path.name != Path(__file__).name)
DOCUMENT = (HERE.parents[1] / "docs" / "threat-model.md").read_text()


@pytest.mark.parametrize("name", FILES)
def test_each_attack_is_in_the_table(name):
    assert f"`{name}`" in DOCUMENT


@pytest.mark.parametrize("name", FILES)
def test_each_attack_has_a_positive_control(name):
    assert "def test_control_" in (HERE / name).read_text()


def test_the_table_names_no_test_that_is_gone():
    assert set(re.findall(r"`(test_\w+\.py)`", DOCUMENT)) <= set(FILES)
