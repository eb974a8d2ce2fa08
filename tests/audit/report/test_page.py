"""The page: what it must say, that it refers to nothing outside, and that no name in it is ever markup."""

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import msgspec
import pytest
from support.studies import DISTRIBUTED, FULL_BATCH, small_study, study_text
from support.tampering import TAMPERED, with_round

from fedpriv.audit.claims import Failure
from fedpriv.audit.report.attached import Attached, AttachedFile, AttackRow, Attacks
from fedpriv.audit.report.checklist import Answer, Group, checklist_of
from fedpriv.audit.report.facts import facts_of
from fedpriv.audit.report.fields import Source, fields_of, refuse_unknown
from fedpriv.audit.report.page import cohort_words, page_of
from fedpriv.audit.report.paper import BROWSERS
from fedpriv.coordinator.bundle import CARD, ROUNDS
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import Refused
from fedpriv.model.folder import Card
from fedpriv.plan import coalitions
from fedpriv.study import parse_study

from .conftest import CHECKS, attached_conformance, with_study

HOSTILE = "<script>alert(1)</script><img src='http://evil.example/x'>\"'&<b>"

REQUIRED = """unit; records per unit; adjacency; release; trust model; sampling assumed; sampling performed;
sampling evidence; clip norm; noise multiplier; expected batch; steps; sampling probability;
accountant and version; epsilon of an image; epsilon of a patient; delta; PLD curve; composition; tuning;
random source; precision; layers; outbound fields; audit, with its ceiling; attacks; utility; versions;
hashes"""


class Page(HTMLParser):
    """Every tag, attribute and visible word of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in {"meta", "br", "img", "link"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def references(text):
    """Whatever could make a browser ask somebody for something."""
    page = Page(text)
    attributes = [
        f"{tag} {name}={value}"
        for tag, name, value in page.attributes
        if name in {"src", "href", "srcset", "action", "data", "poster", "background", "xlink:href", "style"}
        or name.startswith("on")
    ]
    tags = sorted({"script", "link", "iframe", "object", "embed", "base", "form", "img"} & set(page.tags))
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    return attributes + tags + re.findall(r"url\(|@import|expression\(|</", style)


def test_it_refers_to_nothing_outside(subject):
    assert references(page_of(subject())) == []


@pytest.mark.parametrize(
    "planted",
    [
        '<img src="http://x/y">',
        '<a href="x">y</a>',
        "<script></script>",
        '<p onclick="x">y</p>',
        '<p style="x">y</p>',
    ],
)
def test_control_a_reference_would_be_found(subject, planted):
    assert references(page_of(subject()).replace("</header>", f"{planted}</header>")) != []


def test_every_tag_is_closed_and_the_text_is_there(subject):
    page = Page(page_of(subject()))
    assert page.open == []
    assert page.tags.count("svg") >= 4
    for heading in (
        "The claim",
        "Epsilon over the rounds",
        "The whole trade-off",
        "Who took part",
        "How to repeat",
    ):
        assert heading in page.text


def test_the_same_bundle_gives_the_same_bytes(subject):
    assert page_of(subject()) == page_of(replace(subject()))


def test_every_number_of_the_claim_is_the_computed_one(subject):
    one = subject()
    text = Page(page_of(one)).text
    assert f"factor of at most e^{one.facts.spent.pld:.3f}" in text
    assert f"picks the right one at most {100 * one.facts.candidate_success:.3g} % of the time" in text
    assert f"{one.verdict.checked} of {one.verdict.checked} recomputed claims hold" in text
    assert one.bundle.sha256 in text
    assert one.run.card.model_digest in text
    assert one.bundle.roster.fingerprint in text
    for digest in one.bundle.contents.sha256.values():
        assert digest in text


def test_the_command_that_repeats_it_has_every_option_and_quotes_it(subject):
    attached = replace(attached_conformance("my measurement.json"), tuning="it's public; rm -rf /")
    text = Page(page_of(subject(attached=attached, fingerprint_compared=True))).text
    (command,) = re.findall(r"(fedpriv audit report .*) --out report.html", text)
    fingerprint = subject().bundle.roster.fingerprint
    assert shlex.split(command)[3:] == [
        "bundle.zip",
        "--roster-fingerprint",
        fingerprint,
        "--conformance",
        "my measurement.json",
        "--tuning",
        "it's public; rm -rf /",
    ]


def as_if(subject, study):
    """The same rounds, as if they had been of ``study``; journals and signatures are left out of it."""
    spent = composed_epsilon([study.cost_of(2)], study.privacy.delta)
    verdict = replace(subject.verdict, spent=spent, coalitions=coalitions(study, 2), charged=())
    run = replace(subject.run, study=study)
    return replace(subject, run=run, verdict=verdict, facts=facts_of(run, (), verdict))


def test_shared_noise_is_reported_for_every_coalition(subject):
    one = as_if(subject(), small_study(FULL_BATCH, *DISTRIBUTED))
    page = Page(page_of(one))
    everybody, against_one, against_all = one.facts.coalitions
    assert everybody.epsilon < against_one.epsilon <= against_all.epsilon
    for coalition in one.facts.coalitions:
        assert f"{coalition.epsilon:.4g}" in page.text
    assert "the coordinator and all 2 other hospitals" in page.text
    assert "a coordinator in league with at most 0 hospitals" in page.text


def test_a_patient_is_a_person(subject):
    study = small_study(FULL_BATCH, ('unit = "image"', 'unit = "patient"\nimages_per_patient = 4'))
    one = as_if(subject(), study)
    text = Page(page_of(one)).text
    assert "any one patient" in text
    assert "Somebody with several images" not in text
    assert answers(one)["Is the unit a person?"] is Answer.SHOWN


def test_without_noise_nothing_is_promised_and_nothing_is_drawn(subject):
    changes = ('noise = "local"', 'noise = "none"'), ("epsilon = 8.0", "epsilon = inf")
    one = as_if(subject(), parse_study(study_text(*changes), "small.toml").with_noise_multiplier(0.0))
    page = Page(page_of(one))
    assert "Nothing is promised to any image" in page.text
    assert "No figure: no noise was added" in page.text
    assert answers(one)["Does the number promise anything to a person?"] is Answer.NOT_SHOWN
    assert answers(one)["Does every opened sum carry the noise that was charged?"] is Answer.NOT_SHOWN


@pytest.mark.parametrize("what", ["a smaller cohort", "nobody asked to train", "called failed", "no receipt"])
def test_a_tampered_round_is_reported_all_the_same(subject, packed, what):
    change, _ = TAMPERED[what]
    one = subject({ROUNDS: with_round(packed.entries[ROUNDS], 1, change)})
    assert Page(page_of(one)).text.lstrip().startswith("FAILED")


def hostile_reason(packed):
    def change(line):
        return msgspec.structs.replace(line, reason=HOSTILE, dropped={"C": HOSTILE})

    return {ROUNDS: with_round(packed.entries[ROUNDS], 2, change)}


def test_a_hostile_reason_or_dropout_is_text(subject, packed):
    text = page_of(subject(hostile_reason(packed)))
    assert references(text) == []
    assert HOSTILE in Page(text).text


@pytest.mark.parametrize(
    ("section", "key"), [("study", "name"), ("model", "name"), ("privacy", "unit"), ("privacy", "noise")]
)
def test_a_hostile_name_in_the_study_is_text(subject, section, key):
    text = page_of(with_study(subject(), **{section: {key: HOSTILE}}))
    assert references(text) == []
    assert HOSTILE in Page(text).text


def test_hostile_attachments_and_versions_are_text(subject):
    attached = replace(attached_conformance(HOSTILE, observed=HOSTILE), tuning=HOSTILE)
    one = subject(attached=attached)
    contents = msgspec.structs.replace(
        one.bundle.contents, versions={HOSTILE: HOSTILE, "dp-accounting": HOSTILE}
    )
    text = page_of(replace(one, bundle=replace(one.bundle, contents=contents)))
    assert references(text) == []
    assert Page(text).text.count(HOSTILE) >= 5


def test_a_hostile_failure_is_text(subject, packed):
    one = subject()
    failure = Failure(HOSTILE, HOSTILE)
    text = page_of(replace(one, verdict=replace(one.verdict, failures=(failure,))))
    assert references(text) == []
    assert HOSTILE in Page(text).text


def test_all_required_statements_are_made(subject):
    one = subject()
    fields = fields_of(one)
    assert {field.name for field in fields} == {
        re.sub(r"\s+", " ", name.strip()) for name in REQUIRED.split(";")
    }
    text = Page(page_of(one)).text
    for field in fields:
        assert field.name in text
        assert re.sub(r"\s+", " ", field.value) in text
    refuse_unknown(fields)


def test_what_no_bundle_holds_is_not_shown_unless_it_was_attached(subject):
    alone = {field.name: field.source for field in fields_of(subject())}
    for name in ("tuning", "utility", "sampling evidence", "attacks", "audit, with its ceiling"):
        assert alone[name] is Source.NOT_SHOWN
    attached = replace(attached_conformance(), tuning="on drawn smears")
    brought = {field.name: field for field in fields_of(subject(attached=attached))}
    assert brought["tuning"].value == "on drawn smears"
    assert brought["tuning"].source is Source.STATED
    assert brought["sampling evidence"].source is Source.ATTACHED


@pytest.mark.parametrize("what", [{"noise": "distributed"}, {"unit": "patient"}])
def test_a_measurement_of_something_else_shows_nothing(subject, what):
    fields = {field.name: field for field in fields_of(subject(attached=attached_conformance(**what)))}
    assert fields["sampling evidence"].source is Source.NOT_SHOWN


def test_without_a_model_or_versions_there_is_no_report(subject):
    one = subject()
    without_model = replace(one, run=replace(one.run, card=None))
    with pytest.raises(Refused, match="the bundle does not say: release, layers, hashes"):
        refuse_unknown(fields_of(without_model))
    contents = msgspec.structs.replace(one.bundle.contents, versions={})
    without_versions = replace(one, bundle=replace(one.bundle, contents=contents))
    with pytest.raises(Refused, match="accountant and version, versions"):
        refuse_unknown(fields_of(without_versions))


def answers(subject):
    return {item.question: item.answer for item in checklist_of(subject)}


def test_every_item_of_the_checklist_has_an_answer_and_a_place_to_look(subject):
    items = checklist_of(subject())
    assert {item.group for item in items} == set(Group)
    assert len({item.question for item in items}) == len(items)
    for item in items:
        assert item.question.endswith("?")
        assert item.because
        assert item.where


def test_nothing_that_only_a_measurement_shows_counts_as_shown_without_one(subject):
    before, after = checklist_of(subject()), checklist_of(subject(attached=attached_conformance()))
    measured = [item.question for item in before if "fedpriv audit conformance" in item.where]
    assert len(measured) == 8
    found = {item.question: item.answer for item in after}
    for item in before:
        if item.question in measured:
            assert item.answer is Answer.NOT_SHOWN
            assert found[item.question] is Answer.LIMITED


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_that_breaks_fails_its_question(subject, check):
    items = checklist_of(subject(attached=attached_conformance(broken=(check,))))
    failed = [item for item in items if item.answer is Answer.FAILS]
    assert any(check in item.where for item in failed)
    assert len(failed) == 2  # that question, and whether the mechanism was measured and holds


def attack_row(**what):
    return AttackRow(
        **{
            "attack": "one-run, local noise",
            "subject": "run as planned",
            "role": "subject",
            "observed": "60 of 100 right: epsilon >= 0.10, claimed 4.4",
            "holds": True,
            "conclusion": "found no contradiction; could have shown up to epsilon 3.49",
            **what,
        }
    )


CONTROL = attack_row(role="control", subject="run with 0.25 of the noise", conclusion="the attack works")
POWERLESS = attack_row(role="control", holds=False, conclusion="the attack fails: nothing is shown beside it")
INVERSION = attack_row(attack="inversion, local noise: painted", observed="0 of 10 re-identified")


@pytest.mark.parametrize(
    ("rows", "answer", "because"),
    [
        ((), Answer.NOT_SHOWN, "no attack on this kind of noise"),
        ((attack_row(attack="one-run, distributed noise"),), Answer.NOT_SHOWN, "no attack on this kind"),
        ((CONTROL,), Answer.NOT_SHOWN, "no attack on this kind"),
        ((CONTROL, attack_row()), Answer.LIMITED, "could have shown up to epsilon 3.49"),
        ((POWERLESS, attack_row()), Answer.NOT_SHOWN, "the attack fails"),
        ((CONTROL, attack_row(holds=False, observed="epsilon >= 9")), Answer.FAILS, "epsilon >= 9"),
    ],
)
def test_an_attack_shows_something_only_where_it_could_have(subject, rows, answer, because):
    attached = Attached(attacks=AttachedFile("attacks.json", "cd" * 32, Attacks(rows)))
    (item,) = [item for item in checklist_of(subject(attached=attached)) if "attacked" in item.question]
    assert item.answer is answer
    assert because in item.because


def test_an_audit_stands_beside_its_ceiling_and_apart_from_other_attacks(subject):
    rows = (CONTROL, attack_row(), INVERSION)
    attached = Attached(attacks=AttachedFile("attacks.json", "cd" * 32, Attacks(rows)))
    one = subject(attached=attached)
    fields = {field.name: field for field in fields_of(one)}
    assert fields["audit, with its ceiling"].value == (
        "one-run, local noise, run as planned: 60 of 100 right: epsilon >= 0.10, claimed 4.4; "
        "found no contradiction; could have shown up to epsilon 3.49"
    )
    assert "0 of 10 re-identified" in fields["attacks"].value
    assert "one-run" not in fields["attacks"].value
    assert "cd" * 32 in page_of(one)


def test_the_fingerprint_is_shown_only_if_it_was_compared(subject):
    question = "Are the members those whom the hospitals pinned?"
    assert answers(subject())[question] is Answer.NOT_SHOWN
    assert answers(subject(fingerprint_compared=True))[question] is Answer.SHOWN


def test_a_missing_journal_limits_and_no_journal_shows_nothing(subject, packed):
    question = "Was every update paid for before it left?"
    assert answers(subject())[question] is Answer.SHOWN
    assert answers(subject({"journals/C.json": None}))[question] is Answer.LIMITED
    none = {path: None for path in packed.entries if path.startswith("journals/")}
    assert answers(subject(none))[question] is Answer.NOT_SHOWN


def edited_card(packed, **claim):
    card = msgspec.json.decode(packed.entries[CARD], type=Card)
    changed = msgspec.structs.replace(card, privacy=msgspec.structs.replace(card.privacy, **claim))
    return {CARD: msgspec.json.encode(changed)}


def test_a_failed_claim_is_the_first_thing_that_is_read(subject, packed):
    one = subject(edited_card(packed, epsilon=0.5))
    page = Page(page_of(one))
    assert page.text.lstrip().startswith("FAILED")
    assert "it claims epsilon 0.5" in page.text
    assert Answer.FAILS in {item.answer for item in checklist_of(one)}


def test_every_failure_fails_a_question(subject):
    one = subject()
    failure = Failure("something new", "unheard of")
    failed = checklist_of(replace(one, verdict=replace(one.verdict, failures=(failure,))))
    (because,) = [item.because for item in failed if item.answer is Answer.FAILS]
    assert because.startswith(f"{one.verdict.checked - 1} of {one.verdict.checked} claims hold; ")
    assert because.endswith("first failure: something new: unheard of")


def test_a_cohort_in_as_few_words_as_possible():
    names = ("A", "B", "C", "D", "E")
    assert cohort_words(names, names) == "all 5"
    assert cohort_words(("A", "B", "D", "E"), names) == "all but C"
    assert cohort_words(("A", "B"), names) == "A, B"
    assert cohort_words(("A", "stranger"), names) == "A, stranger"


def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on the PATH")
    return found


def requests_of(page, folder):
    """Every address that a browser asks for when it opens the file ``page`` from disk."""
    log = folder / "net.json"
    subprocess.run(
        [
            browser(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            f"--screenshot={folder / 'page.png'}",
            str(page),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert (folder / "page.png").stat().st_size > 10_000
    events = [event["params"] for event in json.loads(log.read_text())["events"] if "params" in event]
    # A browser asks for updates of its own; what a page asks for has the page as its initiator.
    asked = {event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"}
    return {url for url in asked if not url.startswith(("file:", "data:"))}


def test_a_browser_that_opens_it_from_disk_asks_nobody(subject, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(page_of(subject()))
    (tmp_path / "a").mkdir()
    assert requests_of(page, tmp_path / "a") == set()
    # The same page without its policy and with one reference, so that a request is known to be seen.
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text())
    page.write_text(text.replace("</header>", '<img src="http://127.0.0.1:9/planted"></header>'))
    (tmp_path / "b").mkdir()
    assert "http://127.0.0.1:9/planted" in requests_of(page, tmp_path / "b")
