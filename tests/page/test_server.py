"""The page as it is deployed: gunicorn, TLS, worker processes, a disk that must stay empty of images."""

import json
import os
import socket
import ssl
import time
from pathlib import Path
from threading import Thread

import psutil
import pytest
from support.bad_uploads import MARK, UPLOADS
from support.page import Browser, drawn_smear, start_page
from support.ports import free_port

from fedpriv.errors import Refused
from fedpriv.page import health

LARGE = 30 << 20


@pytest.fixture(scope="module")
def ana(running):
    browser = running.browser()
    assert browser.log_in("ana").status == 302
    yield browser
    browser.close()


def worker_of(running):
    """The process that holds the model."""
    (worker,) = [
        child
        for child in psutil.Process(running.process.pid).children()
        if "page" in child.cmdline() and "start" in child.cmdline()
    ]
    return worker


def traces_on_disk(running, traces):
    """Files below the home or the temporary folder with any of ``traces``."""
    found = []
    for folder in (running.home, running.temporary):
        for path in folder.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            found.extend(path for trace in traces if trace in content or trace in path.name.encode())
    return found


def trace_of(upload):
    """Some bytes of the middle of a file that stand in no other."""
    middle = len(upload.data) // 2
    return upload.data[middle : middle + 24]


def test_each_bad_upload_has_its_status_and_its_code_and_leaves_nothing(running, ana):
    ana.upload(("x.png", drawn_smear()))
    memory = worker_of(running).memory_info().rss
    for upload in UPLOADS:
        answer = ana.upload((upload.name, upload.data))
        assert answer.status == upload.status, upload.name
        (outcome,) = answer.json["outcomes"]
        assert outcome["refusal"] == upload.code, upload.name
        assert "/" not in outcome["name"]
        assert "\\" not in outcome["name"]
        assert len(outcome["name"]) <= 255
    assert worker_of(running).memory_info().rss - memory < 60 << 20
    traces = {trace_of(upload) for upload in UPLOADS if len(set(trace_of(upload))) > 8}
    assert len(traces) > 20
    assert traces_on_disk(running, [MARK, *traces]) == []


def test_two_hundred_megabytes_are_refused_and_not_kept(running, ana):
    memory = worker_of(running).memory_info().rss
    answer = ana.upload(("large.png", MARK + bytes(200 << 20)))
    assert answer.status == 413
    assert answer.json == {"refused": "request_too_large"}
    assert worker_of(running).memory_info().rss - memory < 20 << 20
    assert traces_on_disk(running, [MARK]) == []
    assert ana.upload(("x.png", drawn_smear())).status == 200


def test_a_large_upload_lies_in_memory_only_while_it_arrives(running, ana):
    """The worker holds no file, named or unnamed, that grows with what it was sent."""
    head = (
        f"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nOrigin: https://127.0.0.1:{running.port}\r\n"
        f"Cookie: {'; '.join(f'{name}={value}' for name, value in ana.cookies.items())}\r\n"
        f"X-CSRFToken: {ana.token}\r\nContent-Type: multipart/form-data; boundary=between\r\n"
        f"Content-Length: {LARGE + 1000}\r\n\r\n"
        '--between\r\nContent-Disposition: form-data; name="images"; filename="large.png"\r\n\r\n'
    )
    memory = worker_of(running).memory_info().rss
    with encrypted(running) as connection:
        connection.sendall(head.encode() + MARK + os.urandom(LARGE))
        time.sleep(0.5)
        held = worker_of(running).memory_info().rss - memory
        on_disk = sum(
            entry.stat().st_size
            for process in (worker_of(running), psutil.Process(running.process.pid))
            for entry in Path(f"/proc/{process.pid}/fd").iterdir()
            if str(entry.readlink()).startswith("/") and running.home not in entry.resolve().parents
            if entry.exists() and entry.is_file()
        )
        assert traces_on_disk(running, [MARK]) == []
    assert held > 15 << 20
    assert on_disk < 1 << 20


def encrypted(running):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", running.port), timeout=60))


def test_cookies_travel_over_tls_only_and_scripts_cannot_read_them(running):
    browser = running.browser()
    page = browser.get("/login")
    answer = browser.log_in("bob")
    cookies = [*page.headers.get_all("Set-Cookie"), *answer.headers.get_all("Set-Cookie")]
    assert len(cookies) >= 3
    for cookie in cookies:
        assert cookie.startswith("__Host-")
        for attribute in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
            assert attribute in cookie
    assert answer.headers["Strict-Transport-Security"]
    browser.close()


def test_a_health_check_is_answered_over_tls_and_only_by_the_page(running):
    health.check(running.port, tls=True)
    for tls in (False, True):
        with pytest.raises(Refused, match="does not answer"):
            health.check(free_port(), tls=tls)
    with pytest.raises(Refused):
        health.check(running.port, tls=False)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(running):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", running.port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_many_users_at_once_each_get_the_answer_to_their_own_image(running):
    images = [drawn_smear(seed) for seed in range(4)]
    browsers = [running.browser() for _ in range(8)]
    for number, browser in enumerate(browsers):
        browser.log_in("ana" if number % 2 else "bob")
    alone = [browsers[0].upload(("x.png", data)).json["outcomes"][0]["reading"] for data in images]
    assert len({json.dumps(reading) for reading in alone}) == len(images)
    wrong = []

    def ask(number):
        for turn in range(6):
            chosen = (number + turn) % len(images)
            answer = browsers[number].upload((f"{number}.png", images[chosen]))
            (outcome,) = answer.json["outcomes"]
            if outcome["name"] != f"{number}.png" or outcome["reading"] != alone[chosen]:
                wrong.append((number, turn, outcome))

    threads = [Thread(target=ask, args=(number,)) for number in range(len(browsers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    for browser in browsers:
        browser.close()


def test_the_log_holds_no_name_no_password_and_nothing_of_a_request(running, ana):
    ana.upload((f"{MARK.decode()}.png", drawn_smear()))
    ana.get(f"/{MARK.decode()}?name={MARK.decode()}")
    guest = running.browser()
    guest.log_in(MARK.decode(), f"password {MARK.decode()}")
    guest.get("/", Host=f"{MARK.decode()}.example")
    guest.close()
    for nonsense in (
        b"GET /" + MARK + b" HTTP/9\r\n\r\n",
        MARK + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + MARK + b"\r\n\r\n",
    ):
        with encrypted(running) as connection:
            connection.sendall(nonsense)
            assert b"400" in connection.recv(1000)
    log = running.log.read_text()
    assert "warning gunicorn.error in " in log  # the control: it was noticed
    assert "error django.security.DisallowedHost" in log
    assert MARK.decode() not in log
    assert "127.0.0.1" not in log.partition("Ctrl-C ends it")[2]


def test_clients_that_fall_silent_do_not_keep_others_out(running, ana):
    from fedpriv.page.server import SILENCE_S, THREADS

    silent = [encrypted(running) for _ in range(THREADS // 2)]
    for connection in silent:
        connection.sendall(b"GET / HTTP/1.1\r\n")
    silent.extend(socket.create_connection(("127.0.0.1", running.port)) for _ in range(THREADS // 2))
    for connection in silent[THREADS // 2 :]:
        connection.sendall(b"\x16\x03\x01")  # the begin of a handshake
    begin = time.monotonic()
    assert running.browser().get("/login").status == 200
    assert SILENCE_S - 5 < time.monotonic() - begin < SILENCE_S + 15  # the control: they do keep threads
    assert "TimeoutError" not in running.log.read_text()
    for connection in silent:
        connection.close()


def test_ctrl_c_ends_all_its_processes(run_folder, tmp_path):
    page = start_page(tmp_path, run_folder, "--images-per-minute", "2")
    browser = Browser(page.port)
    browser.log_in()
    assert [browser.upload(("x.png", drawn_smear())).status for _ in range(3)] == [200, 200, 429]
    browser.close()
    health.check(page.port, tls=False)
    children = psutil.Process(page.process.pid).children(recursive=True)
    assert any("fedpriv.page.decoding" in child.cmdline() for child in children)
    assert page.stop() == 0
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert len(gone) >= 2
    assert alive == []
    with pytest.raises(Refused, match="does not answer"):
        health.check(page.port, tls=False)
    modes = {path.name: path.stat().st_mode & 0o777 for path in page.home.iterdir()}
    assert page.home.stat().st_mode & 0o777 == 0o700
    assert modes["signing-key"] == modes["page.sqlite"] == 0o600
