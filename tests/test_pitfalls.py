"""docs/pitfalls.md names a severity and tests for each pitfall, and every test that it names is there."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "pitfalls.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| pitfall |"))
]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
CITED = sorted({found for row in ROWS for found in NAMED.findall(row[-1])})


@functools.cache
def defined_in(path):
    """The names of the test functions in a file of this repository; none if there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    return frozenset(
        node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)
    )


def test_the_document_has_rows_and_they_are_all_different():
    assert len(ROWS) > 30
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_each_pitfall_has_a_severity_a_prevention_and_a_test(row):
    pitfall, severity, prevention, tests = row
    assert pitfall
    assert prevention
    assert severity in {"fatal", "serious", "misleading"}
    assert NAMED.findall(tests)
    assert not NAMED.sub("", tests).strip(", ")


@pytest.mark.parametrize(("path", "name"), CITED, ids=[name for _, name in CITED])
def test_each_test_that_it_names_is_there(path, name):
    assert name in defined_in(path)


def test_a_test_that_is_gone_would_be_found():
    assert "test_that_never_was" not in defined_in("tests/dp/test_step.py")
    assert defined_in("tests/dp/test_nothing.py") == frozenset()
