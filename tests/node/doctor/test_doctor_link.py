"""What the doctor finds of the coordinator, from one handshake."""

import datetime as dt
import socket
import threading

import pytest
from support.examined import SECRETS, Door, configure, diagnoses, fails

from fedpriv.diagnosis import Health
from fedpriv.identity import tls
from fedpriv.node import doctor_link


def test_a_coordinator_that_is_away(home):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configure(home, home.config.coordinator, f"127.0.0.1:{port}")
    fails(home, "coordinator", "does not answer: connection refused", "ask the operator")


def test_somebody_else_at_the_address(home, tmp_path):
    impostor = Door(tmp_path / "impostor", tls.new_server_credentials("other", ["127.0.0.1"]))
    configure(home, home.config.coordinator, f"127.0.0.1:{impostor.port}")
    fails(home, "coordinator", "is not the coordinator of the pinned roster", "by phone")
    impostor.close()


def test_a_certificate_for_another_name(home, tmp_path):
    misnamed = tls.issue_server_credentials(SECRETS.authority, ["fed.example.org"])
    other = Door(tmp_path / "misnamed", misnamed)
    configure(home, home.config.coordinator, f"127.0.0.1:{other.port}")
    fails(home, "coordinator", "IP address mismatch", "check the address")
    other.close()


@pytest.mark.parametrize(
    ("validity", "found"),
    [(dt.timedelta(seconds=-60), "no longer valid"), (dt.timedelta(days=9), "8 days left")],
)
def test_a_certificate_that_has_ended_or_soon_will(home, tmp_path, monkeypatch, validity, found):
    monkeypatch.setattr(tls, "SERVER_VALIDITY", validity)
    old = Door(tmp_path / "old", tls.issue_server_credentials(SECRETS.authority, ["127.0.0.1"]))
    configure(home, home.config.coordinator, f"127.0.0.1:{old.port}")
    diagnosis = diagnoses(home)["coordinator"]
    assert diagnosis.health is (Health.FAIL if validity < dt.timedelta(0) else Health.WARN)
    assert found in diagnosis.found
    assert "new server certificate" in diagnosis.fix
    old.close()


def test_something_that_does_not_speak_tls(home):
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def greet():
            connection, _ = plain.accept()
            connection.sendall(b"220 a mail server\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        configure(home, home.config.coordinator, f"127.0.0.1:{plain.getsockname()[1]}")
        fails(home, "coordinator", "answers, but not with TLS", "check the address and the port")


def test_a_coordinator_that_says_nothing_is_given_up(home, monkeypatch):
    monkeypatch.setattr(doctor_link, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configure(home, home.config.coordinator, f"127.0.0.1:{silent.getsockname()[1]}")
        assert diagnoses(home)["coordinator"].health is Health.FAIL


# What an admin types.
