"""The example files that people copy are valid, and name every key that there is."""

import re
from pathlib import Path

import msgspec
import pytest

from fedpriv.coordinator import home as coordinator_homes
from fedpriv.errors import HomeError
from fedpriv.node import home as node_homes
from fedpriv.node.policy import Policy
from fedpriv.study import Study, load_study
from fedpriv.toml_files import read_toml

ROOT = Path(__file__).parents[1]


def test_the_examples_parse():
    read_toml(ROOT / "nodes/node.toml", node_homes.Config, HomeError)
    read_toml(ROOT / "coordinator/coordinator.toml", coordinator_homes.Config, HomeError)


@pytest.mark.parametrize(
    ("file", "kinds", "left_out"),
    [
        ("nodes/node.toml", (node_homes.Config, node_homes.Dataset, Policy), {"hospital"}),
        (
            "coordinator/coordinator.toml",
            (coordinator_homes.Config, coordinator_homes.Listen, coordinator_homes.Deadlines),
            set(),
        ),
    ],
)
def test_the_examples_explain_every_key(file, kinds, left_out):
    text = (ROOT / file).read_text()
    keys = {field.name for kind in kinds for field in msgspec.structs.fields(kind)} - left_out
    assert {key for key in keys if not re.search(rf"^\[?{key}\b", text, re.MULTILINE)} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_every_study_file_is_valid_and_says_what_it_is_for(path):
    assert isinstance(load_study(path), Study)
    assert re.match(r"# [A-Z].*\.\n", path.read_text())
