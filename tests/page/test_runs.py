from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.memory import MemoryFederation
from support.studies import FULL_BATCH, small_study

from fedpriv.cli.page_runs import runs_in
from fedpriv.errors import HomeError
from fedpriv.model.folder import load_model
from fedpriv.page.runs import Round, Run, Unreadable, chart_of
from fedpriv.plan import Spent


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    """Two rounds, the second without C."""
    made = MemoryFederation(tmp_path_factory.mktemp("coordinator"), small_study(FULL_BATCH))
    made.round()
    made.link.deaf["C"] = "offline"
    made.round()
    yield made
    made.close()


def test_a_run_is_shown_as_recorded(federation):
    (run,) = runs_in(federation.runs.parent)()
    claim = load_model(federation.run.model_folder).card.privacy
    assert (run.study, run.hospitals, run.planned) == ("small", ("A", "B", "C"), 4)
    assert (run.completed, run.failed) == (2, 0)
    assert [one.cohort for one in run.rounds] == [("A", "B", "C"), ("A", "B")]
    assert [spent.rounds for spent in run.course] == [1, 2]
    assert run.epsilon == pytest.approx(claim.epsilon, rel=1e-2)
    assert run.epsilon < run.allowed == 8.0
    assert run.model_digest == load_model(federation.run.model_folder).card.model_digest
    assert (datetime.now(UTC) - run.began).total_seconds() < 600
    assert runs_in(federation.runs)() == (run,)  # the home or its runs, both are understood


def test_a_new_round_is_seen_at_once(federation):
    source = runs_in(federation.runs)
    before = source()[0].completed
    federation.round()
    assert source()[0].completed == before + 1


def test_a_run_that_cannot_be_read_does_not_hide_the_others(federation, tmp_path):
    (tmp_path / "runs").symlink_to(federation.runs)
    assert isinstance(runs_in(tmp_path)()[0], Run)
    broken = tmp_path / "other" / "20260101-000000-zz"
    broken.mkdir(parents=True)
    (broken / "study.toml").write_text("nonsense")
    (found,) = runs_in(tmp_path / "other")()
    assert isinstance(found, Unreadable)
    assert found.name == broken.name
    assert "study.toml" in found.message


def test_a_folder_that_is_none_is_a_mistake(tmp_path):
    with pytest.raises(HomeError, match="no such folder"):
        runs_in(tmp_path / "nowhere")


def run_of(*course, planned=10, allowed=8.0):
    return Run(
        name="run",
        study="s",
        began=None,
        hospitals=("A", "B"),
        planned=planned,
        rounds=(Round(1, "complete", "", ("A", "B"), (), 1.0),),
        unit="image",
        noise="local",
        delta=1e-5,
        allowed=allowed,
        course=course,
        model_digest=None,
        report=Path("report.html"),
    )


def test_the_chart_starts_at_nothing_and_rises_to_what_is_spent():
    chart = chart_of(run_of(Spent(1, 2.0), Spent(5, 4.0)))
    points = [tuple(map(float, point.split(","))) for point in chart.path.split()]
    assert points[0] == (chart.left, chart.bottom)
    assert points[1:] == list(chart.dots)
    (first, second) = chart.dots
    assert first[0] - chart.left == pytest.approx((chart.right - chart.left) / 10, abs=0.1)
    assert chart.bottom - second[1] == pytest.approx(2 * (chart.bottom - first[1]), abs=0.3)
    assert chart.allowed.at < second[1]


@pytest.mark.parametrize("planned", [1, 2, 7, 10, 100, 399])
@pytest.mark.parametrize("allowed", [0.1, 1.0, 3.0, 8.0, 50.0])
def test_axes_have_a_few_round_numbers(planned, allowed):
    chart = chart_of(run_of(Spent(1, allowed), planned=planned, allowed=allowed))
    assert 4 <= len(chart.rows) <= 12
    assert chart.rows[0].label == 0
    assert all(chart.left <= tick.at <= chart.right for tick in chart.columns)
    labels = [tick.label for tick in chart.columns]
    assert labels == sorted(set(labels))


def test_without_noise_there_is_no_chart():
    assert chart_of(run_of()) is None
    assert run_of().epsilon is None
