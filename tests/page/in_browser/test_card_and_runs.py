"""What the page says about the model, and what operators see of its training."""

import pytest
from support import drawn_model
from support.page import NO_CLAIM, PASSWORD, start_page

from fedpriv.model.evaluate import wilson_interval
from fedpriv.model.folder import load_model
from fedpriv.model.model_card import read_model_card


def test_the_model_card_says_what_was_counted_and_what_was_not(visit, model):
    seen = visit()
    seen.log_in()
    seen.go("/card")
    text = seen.tab.inner_text("article")
    card = load_model(model).card
    counted = read_model_card(model, card).held_out
    low, high = wilson_interval(counted.accuracy, counted.images)
    assert f"{100 * counted.accuracy:.1f} %" in text
    assert f"{100 * low:.1f} %" in text
    assert f"{100 * high:.1f} %" in text
    lines = seen.tab.locator("table").first.locator("tbody tr").all_inner_texts()
    assert [line for line in lines if "not measured" in line] == lines[1:]
    assert len(lines) == 3
    hits = [row[number] for number, row in enumerate(counted.confusion)]
    classes = seen.tab.locator("table").nth(1).locator("tbody tr").all_inner_texts()
    for line, figures, hit in zip(classes, counted.classes, hits, strict=True):
        assert f"{100 * hit / figures.images:.1f} %" in line
    assert "narrowed that one down to 100 candidates, picks the right one at most 43.0 % of the time" in text
    assert "7.5" in text
    assert "0.00001" in text
    assert "<no patient's> image" in text
    for digest in (card.model_digest, card.study_digest, "ab" * 32):
        assert digest in text


@pytest.mark.parametrize("path", ["/runs", "/runs/any", "/runs/any/report"])
def test_a_doctor_sees_no_runs(visit, path):
    seen = visit(allowed="403")
    seen.log_in()
    assert seen.tab.get_by_role("link", name="Runs").count() == 0
    assert seen.go(path).status == 403


def test_an_operator_sees_rounds_cohorts_and_epsilon(visit, coordinator):
    seen = visit()
    seen.log_in("otto")
    seen.tab.get_by_role("link", name="Runs", exact=True).click()
    assert "2 / 4" in seen.tab.inner_text("main table")
    assert "nonsense" in seen.tab.inner_text("main table") or "study.toml" in seen.tab.inner_text(
        "main table"
    )
    seen.tab.get_by_role("link", name="small").click()
    rounds = seen.tab.locator(".cohorts tbody tr").all()
    assert [row.get_by_text("in the sum", exact=True).count() for row in rounds] == [3, 2]
    assert (
        "C" in rounds[1].locator("td").last.inner_text()
        or rounds[1].get_by_text("not in the sum").count() == 1
    )
    last = seen.tab.locator("details tbody tr").last
    seen.tab.locator("summary").click()
    claimed = load_model(coordinator.run.model_folder).card.privacy.epsilon
    charged, epsilon = last.locator("td").all_inner_texts()
    assert (charged, float(epsilon)) == ("2", pytest.approx(claimed, rel=5e-3))
    assert seen.tab.locator(".chart polyline").is_visible()


def test_the_report_is_shown_with_its_style_and_without_scripts(visit):
    seen = visit(allowed="script")
    seen.log_in("otto")
    seen.go("/runs")
    seen.tab.get_by_role("link", name="Report", exact=True).click()
    assert seen.tab.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(1, 2, 3)"
    assert seen.tab.title() == "r"


def test_a_model_without_a_privacy_statement_says_so_on_every_page(chromium, smears, tmp_path):
    drawn_model.fit(tmp_path / "model", smears, claim=NO_CLAIM)
    page = start_page(tmp_path, tmp_path / "model", "--without-privacy-statement")
    url = f"http://127.0.0.1:{page.port}"
    tab = chromium.new_context().new_page()
    tab.goto(f"{url}/login")
    tab.fill("#id_username", "ana")
    tab.fill("#id_password", PASSWORD)
    tab.press("#id_password", "Enter")
    tab.wait_for_selector("#upload")
    for path in ("/", "/card"):
        tab.goto(url + path)
        assert "No privacy statement." in tab.inner_text(".notices")
    assert "Nothing. No noise was added" in tab.inner_text("article")
    assert tab.locator("text=not measured").count() == 3
    tab.context.close()
    assert page.stop() == 0
