"""Keyboard, screen reader, small screens, forced colours, Romanian; an axe is laid to every page."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from support.page import PASSWORD

PAGES = ("/", "/card", "/runs")


def faults(tab):
    """What axe finds that keeps people out."""
    found = Axe().run(tab).response["violations"]
    return [
        (one["id"], node["html"][:120])
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_screen(visit, drawn, size, scheme):
    seen = visit(size, color_scheme=scheme, allowed="404")
    seen.go("/login")
    found = {"/login": faults(seen.tab)}
    seen.log_in("otto")
    for path in PAGES:
        seen.go(path)
        found[path] = faults(seen.tab)
        assert seen.width() <= seen.tab.viewport_size["width"], path
    seen.tab.click("main table a >> nth=0")
    found["run"] = faults(seen.tab)
    assert seen.width() <= seen.tab.viewport_size["width"]
    seen.go("/nowhere")
    found["refused"] = faults(seen.tab)
    seen.go("/")
    (reading,) = seen.read(drawn("Benign")).all()
    reading.get_by_role("button").click()
    reading.locator(".evidence").wait_for()
    found["reading"] = faults(seen.tab)
    assert seen.width() <= seen.tab.viewport_size["width"]
    assert not any(found.values()), found


def test_axe_would_find_a_fault(visit):
    seen = visit()
    seen.go("/login")
    seen.tab.evaluate("document.querySelector('label').remove()")
    assert [rule for rule, _ in faults(seen.tab)] == ["label"]


def test_everything_can_be_done_by_keyboard_alone(visit, drawn):
    seen = visit()
    keys = seen.tab.keyboard
    choosers = []
    # Listening is what keeps the browser from opening a dialog of its own; it takes effect a moment later.
    seen.tab.on("filechooser", lambda chooser: choosers.append(chooser))  # noqa: PLW0108 -- a list takes none
    seen.go("/login")
    seen.tab.wait_for_function("document.activeElement.id === 'id_username'")  # it has the focus by itself
    keys.type("ana")
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    seen.tab.wait_for_selector(".js #upload")
    seen.tab.wait_for_load_state("load")

    def reach(selector, most=15):
        for _ in range(most):
            keys.press("Tab")
            if seen.tab.evaluate("selector => document.activeElement.matches(selector)", selector):
                outline = seen.tab.evaluate(
                    "() => { const at = document.activeElement; const around = at.closest('.drop') || at;"
                    " return getComputedStyle(around).outlineStyle }"
                )
                assert outline != "none", f"nobody sees that {selector} has the focus"
                return
        raise AssertionError(f"{selector} cannot be reached")

    keys.press("Tab")
    assert seen.tab.evaluate("document.activeElement.className") == "skip"
    keys.press("Enter")
    assert seen.tab.evaluate("document.activeElement.id") == "main"
    reach("#images")
    keys.press("Enter")
    for _ in range(50):
        if choosers:
            break
        seen.tab.wait_for_timeout(100)
    choosers[0].set_files(str(drawn("Pro")))
    reach("#read")
    keys.press("Enter")
    seen.tab.wait_for_selector("#results[aria-busy=false] [data-reading]")
    assert seen.tab.evaluate("document.activeElement.id") == "results-title"
    reach(".field button")
    keys.press("Enter")
    seen.tab.wait_for_selector(".evidence")
    assert seen.tab.evaluate("document.activeElement.tagName") == "FIGCAPTION"
    reach(".foot a")
    keys.press("Enter")
    seen.tab.wait_for_selector("h1:has-text('Model card')")
    reach(".leave button")
    keys.press("Enter")
    seen.tab.wait_for_selector("#id_username")


def test_the_page_speaks_romanian(visit, drawn):
    seen = visit(locale="ro-RO")
    seen.go("/login")
    assert seen.tab.get_attribute("html", "lang") == "ro"
    assert seen.tab.inner_text("h1") == "Autentificare"
    seen.log_in()
    (reading,) = seen.read(drawn("Early")).all()
    assert reading.locator("tbody th").all_inner_texts() == ["Benign", "Pre-B precoce", "Pre-B", "Pro-B"]
    reading.get_by_role("button", name="Arată unde se află dovezile").click()
    reading.locator(".evidence").wait_for()
    assert "dovezi" in reading.locator("figcaption").inner_text().lower()
    seen.go("/card")
    assert seen.tab.inner_text("h1") == "Fișa modelului"
    assert "43,0 % din cazuri" in seen.tab.inner_text(".claim")  # the comma is the language's, too


def test_a_language_is_chosen_before_and_after_the_log_in(visit):
    seen = visit()
    seen.go("/login")
    seen.tab.get_by_role("button", name="Română").click()
    assert seen.tab.inner_text("h1") == "Autentificare"
    seen.log_in()
    assert seen.tab.inner_text("h1") == "Citirea frotiurilor"
    seen.tab.get_by_role("button", name="English").click()
    assert seen.tab.inner_text("h1") == "Read smears"


def test_bars_are_told_apart_where_colours_are_forced(visit, drawn):
    seen = visit(forced_colors="active", reduced_motion="reduce")
    seen.log_in()
    (reading,) = seen.read(drawn("Pro")).all()
    fill = "bar => getComputedStyle(bar).fill"
    value = reading.locator(".bar__value").first.evaluate(fill)
    assert value != reading.locator(".bar__scale").first.evaluate(fill)
    moves = "at => getComputedStyle(at).transitionDuration !== '0s'"
    assert not seen.tab.evaluate(f"() => [...document.querySelectorAll('*')].some({moves})")


def test_a_screen_reader_finds_landmarks_headings_and_what_changes(visit, drawn):
    seen = visit()
    seen.log_in()
    seen.read(drawn("Pre"))
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert seen.tab.get_by_role(landmark).count() == 1, landmark
    assert seen.tab.get_by_role("heading", level=1).count() == 1
    assert seen.tab.get_by_role("heading", level=2, name="Readings").is_visible()
    assert seen.tab.get_by_role("status").inner_text() == "One image was read."
    table = seen.tab.get_by_role("table", name="Probability of each class")
    assert table.get_by_role("rowheader").count() == 4
