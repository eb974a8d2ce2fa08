import copy
import json
from pathlib import Path

import pytest
from accuracy_tables import put, tables

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def found():
    return json.loads((DOCS / "measurements/accuracy.json").read_text())


@pytest.fixture
def page():
    return (DOCS / "results.md").read_text()


def test_every_table_of_the_results_page_is_made_from_the_measurements(found, page):
    assert len(tables(found)) == 4
    assert all(table in page for table in tables(found))
    assert put(page, found) == page


def test_a_figure_that_was_changed_by_hand_or_not_brought_over_is_seen(found, page):
    other = copy.deepcopy(found)
    other["methods"]["distributed, epsilon 3"]["accuracy"]["mean"] += 0.001
    assert tables(other)[0] not in page
    assert put(put(page, other), found) == page


def test_a_page_without_the_table_is_no_page_to_put_it_in(found):
    with pytest.raises(ValueError, match="does not have one table"):
        put("# Results\n", found)


def test_the_headline_says_what_the_measurements_say(found):
    readme = " ".join((DOCS.parent / "README.md").read_text().split())
    for epsilon in (1, 3, 8):
        mean = found["methods"][f"distributed, epsilon {epsilon}"]["accuracy"]["mean"]
        assert f"{mean:.1%}".replace("%", " %") in readme
