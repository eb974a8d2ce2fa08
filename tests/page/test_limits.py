"""How often one user may ask, and how often anybody may guess."""

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from support.page import PASSWORD

from fedpriv.page import throttle
from fedpriv.page.config import Limits

DIGEST = "ab" * 32


def send(client, images=1):
    files = [SimpleUploadedFile("x.png", b"text")] * images
    return client.post("/read", {"images": files}, secure=True)


@pytest.fixture
def clock(monkeypatch):
    """The time of the records, to be moved."""
    from django.utils import timezone

    start = timezone.now()
    passed = [timedelta()]
    monkeypatch.setattr(timezone, "now", lambda: start + passed[0])
    return lambda seconds: passed.__setitem__(0, timedelta(seconds=seconds))


def test_a_minute_has_room_for_so_many_images_and_the_answer_says_when_there_is_more(log_in, clock):
    client = log_in()
    assert send(client, 5).status_code == 415
    clock(20)
    assert send(client, 7).status_code == 415  # 12 in this minute
    refused = send(client)
    assert refused.status_code == 429
    assert refused.json() == {"refused": "too_often"}
    assert refused["Retry-After"] == "40"
    clock(60.5)
    assert send(client, 5).status_code == 415
    assert send(client).status_code == 429


def test_a_request_that_does_not_fit_is_refused_whole_and_costs_nothing(log_in, clock):
    from fedpriv.page.models import AccessRecord

    client = log_in()
    send(client, 10)
    assert send(client, 3).status_code == 429
    assert AccessRecord.objects.count() == 10
    assert send(client, 2).status_code == 415


def test_a_day_has_a_limit_of_its_own(log_in, clock):
    client = log_in()
    for minute in (0, 2):
        clock(60 * minute)
        assert send(client, 10).status_code == 415
    clock(600)
    refused = send(client)
    assert refused.status_code == 429
    assert refused["Retry-After"] == str(86400 - 600)
    clock(86401)
    assert send(log_in(), 10).status_code == 415


def test_each_user_has_limits_of_their_own(log_in, clock):
    ana, bob = log_in("ana"), log_in("bob")
    assert send(ana, 12).status_code == 415
    assert send(ana).status_code == 429
    assert send(bob).status_code == 415


def test_a_new_session_or_a_new_user_of_the_same_name_forgives_nothing(log_in, clock):
    from django.contrib.auth.models import User

    send(log_in(), 12)
    assert send(log_in()).status_code == 429
    User.objects.get(username="ana").delete()
    assert send(log_in()).status_code == 429


def test_a_request_over_the_limit_is_refused_before_its_body_is_parsed(log_in, clock):
    client = log_in()
    send(client, 12)
    answer = client.generic(
        "POST", "/read", b"no form at all", secure=True, CONTENT_TYPE="multipart/form-data"
    )
    assert answer.status_code == 429


def test_requests_at_once_cannot_slip_through_together(emptied):
    from django.contrib.auth.models import User
    from django.db import connections

    from fedpriv.page.limits import OverLimit, charge
    from fedpriv.page.models import AccessRecord

    User.objects.create(username="ana")
    together, granted = Barrier(8), []

    def ask():
        together.wait()
        try:
            granted.append(len(charge("ana", DIGEST, Limits(5, 100), 1)))
        except OverLimit:
            pass
        finally:
            connections.close_all()

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == AccessRecord.objects.count() == 5


def test_more_than_a_window_holds_never_fits(emptied):
    from fedpriv.page.limits import OverLimit, check_room

    with pytest.raises(OverLimit) as caught:
        check_room("ana", Limits(5, 100), 6)
    assert caught.value.retry_after_s == 60


def guess(client, password, name="ana", **options):
    form = {"username": name, "password": password}
    return client.post("/login", form, secure=True, **options).status_code


@pytest.fixture
def stranger(log_in):
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User

    client = log_in()
    client.logout()
    User.objects.update(password=make_password(PASSWORD))
    return client


def test_after_a_few_wrong_passwords_even_the_right_one_has_to_wait(stranger):
    for _ in range(throttle.GUESSES_OF_A_NAME_FROM_AN_ADDRESS):
        assert guess(stranger, "wrong") == 200
    assert guess(stranger, PASSWORD) == 429
    assert guess(stranger, PASSWORD, "ANA") == 429
    assert guess(stranger, PASSWORD, REMOTE_ADDR="192.0.2.7") == 302  # nobody is locked out from elsewhere


def test_right_passwords_cost_no_place(stranger):
    for _ in range(throttle.GUESSES_OF_A_NAME_FROM_AN_ADDRESS + 2):
        assert guess(stranger, PASSWORD) == 302
        stranger.logout()


def test_a_name_guessed_from_many_addresses_and_many_names_from_one_have_to_wait(stranger, monkeypatch):
    monkeypatch.setattr("django.contrib.auth.forms.authenticate", lambda *_arguments, **_options: None)
    for number in range(throttle.GUESSES_OF_A_NAME):
        assert guess(stranger, "wrong", REMOTE_ADDR=f"192.0.2.{number}") == 200
    assert guess(stranger, "wrong", REMOTE_ADDR="198.51.100.1") == 429
    for number in range(throttle.GUESSES_FROM_AN_ADDRESS):
        assert guess(stranger, "wrong", f"user{number}", REMOTE_ADDR="203.0.113.1") == 200
    assert guess(stranger, "wrong", "somebody", REMOTE_ADDR="203.0.113.1") == 429


def test_neither_name_nor_address_nor_password_of_a_guess_is_stored(stranger, page_config):
    guess(stranger, "wrong-Ionescu", "typed-Ionescu", REMOTE_ADDR="203.0.113.99")
    stored = b"".join(path.read_bytes() for path in page_config.home.rglob("*") if path.is_file())
    assert b"guess:" in stored
    assert b"Ionescu" not in stored
    assert b"203.0.113.99" not in stored


def test_behind_a_proxy_the_address_is_what_the_proxy_added(emptied):
    from django.test import RequestFactory

    request = RequestFactory().get("/", headers={"x-forwarded-for": "6.6.6.6, 192.0.2.1"})
    assert throttle.client_address(request) == "127.0.0.1"
    object.__setattr__(emptied, "behind_proxy", True)
    try:
        assert throttle.client_address(request) == "192.0.2.1"
    finally:
        object.__setattr__(emptied, "behind_proxy", False)
