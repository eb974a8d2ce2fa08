"""What the page answers, to whom, in this process and through all of its middleware."""

import io
import re

import msgspec
import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from support.bad_uploads import MARK, UPLOADS
from support.page import NO_CLAIM, drawn_smear, encode, tiny_run

from fedpriv.errors import HomeError, Refused
from fedpriv.model import evaluate
from fedpriv.model.evidence_map import GRID
from fedpriv.page import inference
from fedpriv.page.config import MOST_FORM_BYTES, MOST_UPLOAD_BYTES, load_card
from fedpriv.page.evidence import EvidenceMap
from fedpriv.smears.decode import decode_stream

CLASSES = ["Benign", "Early", "Pre", "Pro"]


def upload(client, *files, **options):
    images = [SimpleUploadedFile(name, data) for name, data in files]
    return client.post("/read", {"images": images}, secure=True, **options)


def records():
    from fedpriv.page.models import AccessRecord

    return list(AccessRecord.objects.order_by("id").values_list("user", "model_digest", "outcome"))


def addresses():
    from fedpriv.page.urls import urlpatterns

    return [pattern for pattern in urlpatterns if not pattern.pattern.converters]


OPEN = {"login", "healthz", "set_language"}
"""All that answers a stranger: the log-in page, the word ok, and the choice of a language for that page."""


def test_without_a_log_in_nothing_but_the_log_in_page_answers(log_in):
    client = log_in()
    client.logout()
    closed = 0
    for pattern in addresses():
        for send in (client.get, client.post):
            answer = send(f"/{pattern.pattern}", secure=True)
            if pattern.name not in OPEN:
                closed += 1
                assert answer.status_code == 302
                assert answer["Location"].startswith("/login?next=/")
                assert answer.content == b""
    assert closed >= 8


def test_the_word_ok_is_all_that_a_health_check_is_told(log_in):
    client = log_in()
    client.logout()
    assert client.get("/healthz", secure=True).content == b"ok\n"
    assert client.get("/healthz").content == b"ok\n"  # from within a container, without TLS


def test_an_unknown_address_says_nothing_of_the_page(log_in):
    client = log_in()
    client.logout()
    answer = client.get("/nowhere", secure=True)
    assert answer.status_code == 404
    assert answer.json() == {"refused": "not_found"}


def test_the_answer_is_the_models_own_rounded(log_in, page_config):
    images = [(f"{seed}.png", drawn_smear(seed)) for seed in range(6)]
    answer = upload(log_in(), *images)
    assert answer.status_code == 200
    assert answer.json()["model"] == page_config.card.model_digest
    pixels = np.stack([decode_stream(io.BytesIO(data), name, 64) for name, data in images])
    expected = evaluate.predict(inference.reader().model, pixels)
    for outcome, (name, _), row in zip(answer.json()["outcomes"], images, expected, strict=True):
        assert outcome["name"] == name
        assert outcome["refusal"] is None
        found = outcome["reading"]["probabilities"]
        assert [one["name"] for one in found] == CLASSES
        assert [one["value"] for one in found] == [round(float(value), 2) for value in row]
        assert outcome["reading"]["top"] == (CLASSES[row.argmax()] if row.max() >= 0.6 else None)


def test_a_program_is_told_the_map_that_the_page_draws(log_in):
    image = SimpleUploadedFile("a.png", drawn_smear())
    answer = log_in().post("/read", {"images": [image], "map": "1"}, secure=True)
    assert answer.status_code == 200
    (outcome,) = answer.json()["outcomes"]
    reader = inference.reader()
    pixels = decode_stream(io.BytesIO(drawn_smear()), "a.png", 64)
    expected = reader.map_evidence(pixels, *reader.read([pixels]))
    assert msgspec.convert(outcome["map"], EvidenceMap) == expected
    assert len(outcome["map"]["squares"]) == GRID**2


def test_what_is_no_smear_gets_no_probabilities(log_in):
    answer = upload(log_in(), ("white.png", encode(Image.new("RGB", (100, 100), "white"), "PNG")))
    assert answer.status_code == 200
    (outcome,) = answer.json()["outcomes"]
    assert outcome["reading"] == {"probabilities": [], "top": None, "cannot_tell": "not_a_smear"}


def test_good_and_bad_images_of_one_request_each_have_their_own_outcome(log_in):
    smear = drawn_smear()
    answer = upload(log_in(), ("a.png", b"text"), ("b.png", smear), ("c.png", b""), ("d.png", smear))
    assert answer.status_code == 200
    outcomes = answer.json()["outcomes"]
    assert [outcome["refusal"] for outcome in outcomes] == ["not_an_image", None, "empty", None]
    assert outcomes[1]["reading"] == outcomes[3]["reading"]
    read = outcomes_code(outcomes[1])
    assert [code for _, _, code in records()] == ["not_an_image", read, "empty", read]


def outcomes_code(outcome):
    return outcome["reading"]["cannot_tell"] or "read"


@pytest.mark.parametrize("as_page", [False, True], ids=["JSON", "page"])
@pytest.mark.parametrize("chosen", UPLOADS[::6], ids=lambda one: one.name[:20])
def test_a_bad_upload_alone_has_the_right_status(log_in, chosen, as_page):
    client = log_in()
    if as_page:
        client.headers = {}
        client.defaults["HTTP_ACCEPT"] = "text/html"
    answer = upload(client, (chosen.name, chosen.data))
    assert answer.status_code == chosen.status
    if not as_page:
        assert answer.json()["outcomes"][0]["refusal"] == chosen.code


def test_the_record_holds_time_user_model_and_outcome_and_nothing_else(log_in, page_config):
    from fedpriv.page.models import AccessRecord

    fields = {field.name for field in AccessRecord._meta.get_fields()}
    assert fields == {"id", "time", "user", "model_digest", "outcome"}
    upload(log_in("ana"), (f"{MARK.decode()}.png", b"text"))
    assert records() == [("ana", page_config.card.model_digest, "not_an_image")]


def test_a_result_can_be_had_once_and_by_nobody_else(log_in):
    """There is no address of a result: the next page of either user shows nothing of it."""
    ana, bob = log_in("ana"), log_in("bob")
    name = f"{MARK.decode()}.png"
    for client in (ana, bob):
        client.defaults["HTTP_ACCEPT"] = "text/html"
    assert MARK in upload(ana, (name, drawn_smear())).content
    for client in (ana, bob):
        for pattern in addresses():
            answer = client.get(f"/{pattern.pattern}", secure=True)
            assert MARK not in b"".join(answer)
    assert not list(ana.session.keys() - {"_auth_user_id", "_auth_user_backend", "_auth_user_hash"})


def test_no_table_holds_anything_of_an_upload(log_in, page_config):
    data = drawn_smear(3)
    upload(log_in(), (f"{MARK.decode()}.png", data))
    stored = b"".join(path.read_bytes() for path in page_config.home.rglob("*") if path.is_file())
    assert b"ana" in stored
    for trace in (MARK, data[1000:1020], b"Early", b"probabilities"):
        assert trace not in stored


def test_a_request_without_an_image_is_told_so(log_in):
    client = log_in()
    assert client.post("/read", {}, secure=True).status_code == 400
    wrong_field = client.post("/read", {"image": SimpleUploadedFile("x.png", b"x")}, secure=True)
    assert wrong_field.status_code == 400
    assert wrong_field.json() == {"refused": "no_image"}
    assert records() == []


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=\x80", "image/png"])
def test_a_body_that_is_no_form_is_refused(log_in, kind):
    answer = log_in().post("/read", b"--x\r\n\r\n", content_type=kind, secure=True)
    assert answer.status_code == 400


def test_too_many_files_are_refused_before_any_is_looked_at(log_in, page_config):
    most = page_config.limits.images_per_request
    assert upload(log_in(), *[("x.png", b"x")] * (most + 1)).status_code == 413
    assert records() == []
    assert upload(log_in(), *[("x.png", b"x")] * most).status_code == 415


@pytest.mark.parametrize(
    ("path", "most"),
    [("/read", MOST_UPLOAD_BYTES), ("/login", MOST_FORM_BYTES), ("/logout", MOST_FORM_BYTES)],
)
def test_a_large_body_is_refused_by_its_length(log_in, path, most):
    client = log_in()
    answer = client.generic("POST", path, bytes(most + 1), secure=True)
    assert answer.status_code == 413
    assert answer.json() == {"refused": "request_too_large"}


def test_a_stranger_cannot_make_the_page_read_a_large_body(log_in):
    client = log_in()
    client.logout()
    unread = io.BytesIO(b"x" * 1000)
    answer = client.generic(
        "POST", "/read", b"", secure=True, CONTENT_LENGTH=str(MOST_UPLOAD_BYTES), **{"wsgi.input": unread}
    )
    assert answer.status_code == 302
    assert unread.tell() == 0


def test_a_form_that_was_not_sent_from_the_page_is_refused(log_in):
    client = log_in(enforce_csrf_checks=True)
    answer = upload(client, ("x.png", drawn_smear()))
    assert answer.status_code == 403
    assert answer.json() == {"refused": "forbidden"}
    assert records() == []
    client.defaults["HTTP_ACCEPT"] = "text/html"
    page = client.get("/", secure=True).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    form = {"images": SimpleUploadedFile("x.png", drawn_smear()), "csrfmiddlewaretoken": token}
    origin = {"HTTP_ORIGIN": "https://testserver"}
    assert client.post("/read", form, secure=True, **origin).status_code == 200
    form["images"].seek(0)
    elsewhere = {"HTTP_ORIGIN": "https://elsewhere.example"}
    assert client.post("/read", form, secure=True, **elsewhere).status_code == 403


def test_a_mistake_of_ours_shows_nothing(log_in, monkeypatch):
    client = log_in()
    client.raise_request_exception = False

    def broken(*_arguments):
        raise ValueError(MARK.decode())

    monkeypatch.setattr(inference.reader(), "read", broken)
    answer = upload(client, ("x.png", drawn_smear()))
    assert answer.status_code == 500
    assert answer.json() == {"refused": "failed"}
    assert [code for _, _, code in records()] == ["asked"]


def test_answers_are_not_cached_framed_or_run(log_in):
    client = log_in()
    for path in ("/", "/card", "/nowhere", "/login"):
        headers = client.get(path, secure=True).headers
        assert headers["Cache-Control"] == "no-store"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
        assert headers["Strict-Transport-Security"].startswith("max-age=31536000")


def test_without_tls_the_browser_is_sent_to_it(log_in):
    answer = log_in().get("/card")
    assert answer.status_code == 301
    assert answer["Location"] == "https://testserver/card"


def test_another_host_name_is_refused(log_in):
    assert log_in().get("/", secure=True, HTTP_HOST="elsewhere.example").status_code == 400


def test_a_model_without_an_epsilon_is_refused_unless_that_is_meant(
    tmp_path, log_in, page_config, monkeypatch
):
    run = tiny_run(tmp_path / "run", NO_CLAIM)
    with pytest.raises(Refused, match="states no epsilon"):
        load_card(run, without_privacy_statement=False)
    _, card = load_card(run, without_privacy_statement=True)
    assert card.privacy.epsilon is None
    client = log_in()
    client.defaults["HTTP_ACCEPT"] = "text/html"
    warning = "privacy of its training images"
    assert warning not in client.get("/", secure=True).content.decode()
    object.__setattr__(page_config, "card", card)
    try:
        assert warning in client.get("/", secure=True).content.decode()
    finally:
        object.__setattr__(page_config, "card", inference.reader().card)


def test_an_altered_model_or_one_without_its_card_is_not_served(tmp_path):
    run = tiny_run(tmp_path / "run")
    weights = run / "model" / "model.npy"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    with pytest.raises(HomeError, match="digest"):
        load_card(run, without_privacy_statement=False)
    (run / "model" / "card.json").unlink()
    with pytest.raises(HomeError, match="neither a model folder nor a run"):
        load_card(run, without_privacy_statement=False)
