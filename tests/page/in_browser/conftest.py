"""The page as a doctor sees it: a real Chromium against the real ``fedpriv page start``.

Every visit ends with what holds on all of them: nothing on the console, and no request to another host.
"""

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from support import drawn_model
from support.memory import MemoryFederation
from support.page import PASSWORD, fedpriv, start_page
from support.studies import FULL_BATCH, small_study

from fedpriv.audit.report.paper import BROWSERS, find_browser
from fedpriv.errors import InputError
from fedpriv.model.evaluate import evaluate, predict
from fedpriv.model.folder import load_model
from fedpriv.model.model_card import ModelCard, Proof, write_model_card
from fedpriv.smears.generate import generate
from fedpriv.smears.load import load_images
from fedpriv.smears.manifest import Split

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 375, "height": 812}}
DOCTOR, OPERATOR = "ana", "otto"
SOURCE = "Smears drawn for a test; <no patient's> image."


@pytest.fixture(scope="module")
def chromium():
    """One browser for all visits of a module; loudly skipped where there is none.

    While it is open, Playwright keeps an event loop in this thread, in which Django refuses to work; other
    tests of the page run Django in this process.
    """
    from playwright.sync_api import sync_playwright

    try:
        executable = find_browser()
    except InputError:
        pytest.skip(f"NO BROWSER, THE PAGE IS NOT TESTED: none of {', '.join(BROWSERS)} is on the PATH")
    flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def smears(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "smears"
    return generate(folder, hospitals=2, patients_per_hospital=8, images_per_patient=2, seed=5)


@pytest.fixture(scope="session")
def model(tmp_path_factory, smears):
    """A model folder with a model card, whose figures were counted."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    network = drawn_model.fit(folder, smears)
    card = load_model(folder).card
    tested = load_images(smears.select(split=Split.TEST), card.image_size)
    write_model_card(
        folder,
        ModelCard(
            model_digest=card.model_digest,
            hospitals=3,
            declared_units=240,
            proof=Proof(bundle_sha256="ab" * 32, claims=1426, not_shown=1, roster="12345 67890"),
            source=SOURCE,
            held_out=evaluate(predict(network, tested.images), tested.labels, card.classes),
        ),
    )
    return folder


@pytest.fixture(scope="session")
def coordinator(tmp_path_factory):
    """A coordinator's folder with a run of two rounds, one of them without C, and a report."""
    folder = tmp_path_factory.mktemp("coordinator")
    federation = MemoryFederation(folder, small_study(FULL_BATCH))
    federation.round()
    federation.link.deaf["C"] = "offline"
    federation.round()
    federation.close()
    report = "<!doctype html><html lang=en><title>r</title><style>p{color:rgb(1,2,3)}</style><p>The report"
    (federation.run.folder / "report.html").write_text(report + "<script>document.title='ran'</script>")
    (folder / "runs" / "broken").mkdir()
    (folder / "runs" / "broken" / "study.toml").write_text("nonsense")
    return federation


@pytest.fixture(scope="session")
def page_at(tmp_path_factory, model, coordinator):
    """Where the page answers, with a doctor and an operator among its users."""
    folder = tmp_path_factory.mktemp("page")
    runs = coordinator.run.folder.parent.parent
    page = start_page(folder, model, "--runs", str(runs), "--images-per-minute", "500", users=(DOCTOR,))
    added = fedpriv("page", "user", "add", OPERATOR, "--operator", "--home", page.home, stdin=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    yield f"http://127.0.0.1:{page.port}"
    assert page.stop() == 0


class Visit:
    """A tab, and what was asked for and said in it."""

    def __init__(self, tab, url):
        self.tab, self.url = tab, url
        self.said, self.hosts = [], set()
        tab.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def go(self, path):
        return self.tab.goto(self.url + path)

    def log_in(self, name=DOCTOR):
        self.go("/login")
        self.tab.fill("#id_username", name)
        self.tab.fill("#id_password", PASSWORD)
        self.tab.press("#id_password", "Enter")
        self.tab.wait_for_selector("#upload")
        self.tab.wait_for_load_state("load")

    def read(self, *paths):
        """Choose these files and wait for their readings."""
        self.tab.set_input_files("#images", [str(path) for path in paths])
        self.tab.click("#read")
        self.tab.wait_for_selector(f"[data-reading] >> nth={len(paths) - 1}")
        self.tab.wait_for_selector("#results[aria-busy=false]")
        return self.tab.locator("[data-reading]")

    def width(self):
        return self.tab.evaluate("document.documentElement.scrollWidth")


@pytest.fixture
def visit(chromium, page_at):
    """Open tabs by size, language and whatever Playwright knows; each is checked when it is closed."""
    visits = []

    def open_tab(size="desktop", *, allowed="", **options):
        context = chromium.new_context(viewport=SIZES[size], **{"locale": "en-GB", **options})
        made = Visit(context.new_page(), page_at)
        visits.append((made, allowed))
        return made

    yield open_tab
    for made, allowed in visits:
        made.tab.context.close()
        assert made.hosts <= {urlsplit(page_at).netloc, ""}, "a request to another host"
        assert [line for line in made.said if not (allowed and allowed in line)] == []


@pytest.fixture
def drawn(smears):
    """Where a drawn training image of a class lies."""

    def find(label, number=0):
        entries = [entry for entry in smears.select(split=Split.TRAIN).entries if entry.label == label]
        return Path(smears.locate(entries[number]))

    return find


@pytest.fixture(scope="session")
def in_python(model):
    """What the model says in this process."""
    from fedpriv.model.network import restore
    from fedpriv.smears.decode import decode

    saved = load_model(model)
    network = restore(saved)

    def probabilities(path):
        return predict(network, np.stack([decode(path, saved.card.image_size)]))[0]

    return probabilities
