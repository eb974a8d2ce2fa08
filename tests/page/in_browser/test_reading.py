"""From the log-in to a printed reading."""

import numpy as np
import pytest
from PIL import Image

NAMES = ["Benign", "Early Pre-B", "Pre-B", "Pro-B"]


def shown_as(probability):
    if probability < 0.005:
        return "under 1 %"
    return "over 99 %" if probability > 0.995 else f"{100 * probability:.0f} %"


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_doctor_logs_in_and_sees_four_probabilities_as_the_model_gives_them(visit, drawn, in_python, size):
    seen = visit(size)
    seen.log_in()
    path = drawn("Pro")
    (reading,) = seen.read(path).all()
    expected = np.round(in_python(path), 2)
    assert expected.max() > 0.6
    rows = reading.locator("tbody tr").all()
    assert [row.locator("th").inner_text().strip() for row in rows] == NAMES
    assert [row.locator(".bars__number").inner_text() for row in rows] == [shown_as(one) for one in expected]
    widths = [float(row.locator(".bar__value").get_attribute("width").rstrip("%")) for row in rows]
    assert widths == pytest.approx(100 * expected)
    assert reading.locator("h3").inner_text() == NAMES[expected.argmax()]
    assert "Of 100 images with an answer like this" in reading.inner_text()
    preview = reading.locator("img")
    assert preview.get_attribute("src").startswith("blob:")
    assert preview.evaluate("image => image.naturalWidth") > 0
    assert "nothing here is a diagnosis" in seen.tab.inner_text(".notices")
    assert seen.tab.inner_text("#status") == "One image was read."
    assert seen.tab.evaluate("document.activeElement.id") == "results-title"
    assert seen.width() <= seen.tab.viewport_size["width"]


def test_a_map_of_the_evidence_comes_on_request_and_says_where_it_is(visit, drawn):
    seen = visit()
    seen.log_in()
    (reading,) = seen.read(drawn("Early")).all()
    assert reading.locator(".evidence").count() == 0
    reading.get_by_role("button", name="Show where the evidence lies").click()
    reading.locator(".evidence").wait_for()
    picture, below = reading.locator("img").bounding_box(), reading.locator(".evidence").bounding_box()
    assert picture == below
    levels = {rect.get_attribute("fill-opacity") for rect in reading.locator(".evidence rect").all()}
    assert 1 < len(levels) <= 4
    words = reading.locator("figcaption").inner_text()
    assert words.startswith(("The evidence is ", "No square"))
    assert words.splitlines()[0] in reading.get_by_role("img", name="Map of the evidence").get_attribute(
        "aria-label"
    )
    assert seen.tab.evaluate("document.activeElement.tagName") == "FIGCAPTION"


def test_images_are_chosen_dropped_pasted_and_taken_back(visit, drawn):
    seen = visit()
    seen.log_in()
    seen.tab.set_input_files("#images", [str(drawn("Benign"))])
    bring = """([kind, name, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
        const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
        document.body.dispatchEvent(event);
    }"""
    for kind, label in (("drop", "Pre"), ("paste", "Pro")):
        seen.tab.evaluate(bring, [kind, f"{kind}.png", list(drawn(label).read_bytes())])
    chosen = seen.tab.get_by_role("list", name="Chosen images").get_by_role("listitem")
    assert [item.locator("span").inner_text() for item in chosen.all()][1:] == ["drop.png", "paste.png"]
    seen.tab.get_by_role("button", name="Remove drop.png").click()
    assert chosen.count() == 2
    seen.tab.click("#read")
    seen.tab.wait_for_selector("[data-reading] >> nth=1")
    assert seen.tab.locator(".reading__file").all_inner_texts()[1] == "paste.png"


def test_what_the_model_cannot_tell_is_not_named(visit, tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("RGB", (128, 128), (240, 230, 235)).save(blank)
    seen = visit()
    seen.log_in()
    (reading,) = seen.read(blank).all()
    assert reading.locator("h3").inner_text() == "Cannot tell"
    assert "does not look like a blood smear" in reading.inner_text()
    assert reading.locator(".bars").count() == 0
    assert reading.get_by_role("button").count() == 0


def test_what_is_no_image_is_refused_in_words_and_the_others_are_read(visit, drawn, tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear colleague")
    seen = visit(allowed="415")
    seen.log_in()
    first, second = seen.read(tmp_path / "letter.jpg", drawn("Pre")).all()
    assert first.locator("h3").inner_text() == "Not read"
    assert "no PNG, JPEG or TIFF image" in first.inner_text()
    assert second.locator("tbody tr").count() == 4


def test_reading_without_an_image_says_what_is_missing(visit):
    seen = visit()
    seen.log_in()
    seen.tab.click("#read")
    assert seen.tab.inner_text("#status") == "Choose an image first."
    assert seen.tab.evaluate("document.activeElement.id") == "images"


def test_it_works_without_javascript(visit, drawn):
    seen = visit(java_script_enabled=False)
    seen.log_in()
    seen.tab.set_input_files("#images", [str(drawn("Pro")), str(drawn("Pre"))])
    seen.tab.get_by_label("Show where the evidence lies").check()
    seen.tab.get_by_role("button", name="Read", exact=True).click()
    readings = seen.tab.locator("[data-reading]")
    assert readings.count() == 2
    for reading in readings.all():
        assert reading.locator("tbody tr").count() == 4
        assert reading.locator(".evidence").is_visible()
    seen.tab.get_by_role("button", name="Română").click()
    assert seen.tab.url == seen.url + "/"
    assert seen.tab.inner_text("h1") == "Citirea frotiurilor"


def test_a_reading_is_printed_on_paper_with_what_it_rests_on(visit, drawn, model, tmp_path):
    seen = visit()
    seen.tab.add_init_script("window.print = () => { window.printed = true; }")
    seen.log_in()
    (reading,) = seen.read(drawn("Pro")).all()
    seen.tab.get_by_role("button", name="Print").click()
    assert seen.tab.evaluate("window.printed")
    assert not seen.tab.locator(".sheet").is_visible()
    seen.tab.emulate_media(media="print")
    for hidden in ("nav", "#upload", ".languages", "#print", ".foot"):
        assert not seen.tab.locator(hidden).is_visible(), hidden
    for visible in (".notices", ".sheet", ".bars", "[data-reading] img"):
        assert seen.tab.locator(visible).first.is_visible(), visible
    from fedpriv.model.folder import load_model

    assert load_model(model).card.model_digest in seen.tab.inner_text(".sheet")
    assert "ana" in seen.tab.inner_text(".sheet")
    seen.tab.emulate_media(media=None)
    paper = seen.tab.pdf(format="A4", prefer_css_page_size=True)
    assert paper.startswith(b"%PDF-")
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") <= 1
    assert b"/Image" in paper  # the preview is on it
    assert reading.is_visible()
