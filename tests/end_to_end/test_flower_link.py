"""The link with real processes, TLS and node authentication on loopback, and the faults it must outlive."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import threading
import time

import psutil
import pytest
from support.link_place import NAMES, Place, at, wait_until
from support.ports import free_port

from fedpriv import flower_wire
from fedpriv.coordinator.control import Members
from fedpriv.coordinator.exchange import LossReason, Lost
from fedpriv.coordinator.flower import FlowerLink, Message
from fedpriv.coordinator.superlink import DATABASE, SuperLink, TlsFiles
from fedpriv.errors import InputError, RoundFailed, Unreachable
from fedpriv.identity import keys, tls
from fedpriv.node.flower import LinkState, serve
from fedpriv.secagg.messages import Envelope, Stage

# A thread that dies would print its traceback on the operator's terminal.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

MEGABYTES_4 = 4_000_000


@pytest.fixture(scope="module", autouse=True)
def _a_proxy_that_nobody_may_ask():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            patch.setenv(name, "http://127.0.0.1:1")
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("place"))
    try:
        place.superlink.start()
        Members(**place.members).register()
        for name in NAMES:
            place.start_node(name)
        yield place
    finally:
        place.close()


@pytest.fixture
def link(place):
    with place.link() as link:
        for name in NAMES:
            if place.nodes[name].process.poll() is not None:
                place.start_node(name)
        wait_until(lambda: all(place.nodes[name].states()[-1:] == ["connected"] for name in NAMES), 30)
        yield link


def ask(link, body: bytes, deadline_s: float = 30.0, vector: bytes = b"", names=NAMES) -> dict:
    return dict(link.ask({name: Envelope(Stage.UPLOAD, body, vector) for name in names}, deadline_s))


def test_each_hospital_gets_its_own_request_and_gives_its_own_reply(link):
    requests = {name: Envelope(Stage.SHARE, name.encode()) for name in NAMES}
    replies = dict(link.ask(requests, 30))
    assert replies == {name: Envelope(Stage.SHARE, name.encode() + b"!") for name in NAMES}
    assert link.online() == set(NAMES)


@pytest.mark.parametrize("length", [flower_wire.INLINE_BYTES, MEGABYTES_4], ids=["whole", "in-objects"])
def test_a_long_vector_arrives_unchanged_both_ways(link, length):
    vectors = {name: os.urandom(length) for name in NAMES}
    requests = {name: Envelope(Stage.UPLOAD, b"v", vectors[name]) for name in NAMES}
    replies = dict(link.ask(requests, 60))
    assert {name: reply.vector for name, reply in replies.items()} == vectors


def test_long_and_short_requests_may_be_asked_together(link):
    vectors = {name: os.urandom(length) for name, length in zip(NAMES, (0, 10, MEGABYTES_4), strict=True)}
    replies = dict(link.ask({name: Envelope(Stage.UPLOAD, b"v", vectors[name]) for name in NAMES}, 60))
    assert {name: reply.vector for name, reply in replies.items()} == vectors


@pytest.mark.parametrize("length", [800_000, MEGABYTES_4], ids=["whole", "in-objects"])
def test_what_was_answered_leaves_nothing_in_the_state_of_flower(link, place, length):
    assert set(ask(link, b"leave nothing", vector=bytes(length))) == set(NAMES)
    with contextlib.closing(sqlite3.connect(place.folder / "flower" / DATABASE)) as state:
        for table in ("objects", "run_objects", "object_children", "message_ins", "message_res"):
            assert state.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_the_same_vector_to_all_and_one_longer_than_a_chunk_of_flower(link):
    vector = bytes(6 << 20) + b"end"
    assert {reply.vector for reply in ask(link, b"v", 60, vector).values()} == {vector}


def test_replies_are_yielded_as_they_come(link):
    requests = {name: Envelope(Stage.SHARE, b"sleep 0") for name in NAMES}
    requests["north"] = Envelope(Stage.SHARE, b"sleep 2")
    order = [name for name, _ in link.ask(requests, 30)]
    assert order[-1] == "north"
    assert sorted(order) == sorted(NAMES)


def test_a_hospital_connects_nowhere_but_to_the_fleet_address(link, place):
    seen = set()
    for _, _ in link.ask({name: Envelope(Stage.SHARE, b"sleep 0.3") for name in NAMES}, 30):
        for name in NAMES:
            process = psutil.Process(place.nodes[name].process.pid)
            assert process.children() == []
            seen |= {
                (connection.status, at(connection.raddr)) for connection in process.net_connections("inet")
            }
    assert seen == {(psutil.CONN_ESTABLISHED, place.addresses.fleet)}


def test_the_superlink_listens_on_its_three_addresses_and_calls_nobody(link, place):
    process = psutil.Process(place.superlink.process_id)
    listening = {
        at(connection.laddr)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    local = {at(connection.laddr) for connection in process.net_connections("inet")}
    assert listening == local == {place.addresses.fleet, place.addresses.serverappio, place.addresses.control}
    assert process.children() == []
    assert process.environ()["FLWR_TELEMETRY_ENABLED"] == "0"


def test_a_hospital_prints_nothing_of_flower(link, place):
    ask(link, b"quiet")
    for name in NAMES:
        lines = place.nodes[name].text.splitlines()
        assert all(re.fullmatch(r"[\d.]+ (connecting|connected|lost|handle .*)", line) for line in lines), (
            lines
        )


def test_a_reply_with_one_field_too_many_is_no_reply(link):
    replies = ask(link, b"extra", names=["north"])
    assert replies == {"north": Lost(LossReason.MALFORMED)}
    assert ask(link, b"again", names=["north"])["north"].body == b"again!"


def test_a_hospital_that_answers_twice_harms_only_itself(link, place):
    requests = {name: Envelope(Stage.UPLOAD, b"sleep 2") for name in NAMES}
    requests["north"] = Envelope(Stage.UPLOAD, b"twice")
    replies = dict(link.ask(requests, 6))
    assert {replies[name].body for name in ("south", "west")} == {b"sleep 2!"}
    north = replies["north"]
    assert north.body == b"twice!" if isinstance(north, Envelope) else north.reason in LossReason
    assert ask(link, b"again", names=["north"])["north"].body == b"again!"


def test_a_message_of_another_type_never_reaches_the_handler(link, place):
    node_id = link._node_of["north"]
    content = flower_wire.to_content(Envelope(Stage.SHARE, b"other-type"))
    link._grid.push_messages([Message(content, node_id, "train", ttl=60)])
    broken = flower_wire.RecordDict({"envelope": flower_wire.ConfigRecord({"stage": 1, "body": "no bytes"})})
    link._grid.push_messages([Message(broken, node_id, flower_wire.MESSAGE_TYPE, ttl=60)])
    assert ask(link, b"after", names=["north"])["north"].body == b"after!"
    assert "handle other-type" not in place.nodes["north"].text
    assert place.nodes["north"].states()[-1] == "connected"


def test_ctrl_c_interrupts_an_exchange_at_once(link):
    done = threading.Event()

    def press():
        while not done.wait(
            0.5
        ):  # Python loses a signal that finds it in a finaliser; a person presses again
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask(link, b"sleep 5")
    done.set()
    assert time.monotonic() - began < 4


def test_a_new_link_ends_the_run_that_was_left_open_and_the_old_one_says_so(link, place):
    with place.link() as second:
        assert set(ask(second, b"second")) == set(NAMES)
        with pytest.raises(RoundFailed, match="ended from outside"):
            ask(link, b"first")
    second.close()


def test_a_killed_hospital_is_lost_by_our_deadline_and_can_come_back(link, place):
    began = time.monotonic()
    requests = {name: Envelope(Stage.UPLOAD, b"stay") for name in NAMES} | {
        "south": Envelope(Stage.UPLOAD, b"die")
    }
    replies = dict(link.ask(requests, 4))
    assert time.monotonic() - began < 5
    assert replies.pop("south") == Lost(LossReason.DEADLINE)
    assert all(isinstance(reply, Envelope) for reply in replies.values())

    node = place.start_node("south")
    wait_until(lambda: node.states()[:1] == ["connecting"], 30)
    assert wait_until(lambda: node.states() == ["connecting", "connected"], 30) < 4  # not flwr's 60 s
    assert set(ask(link, b"all")) == set(NAMES)


def test_a_hospital_that_dies_in_the_middle_of_its_upload_delays_nobody(link):
    began = time.monotonic()
    vector = os.urandom(MEGABYTES_4)
    requests = {name: Envelope(Stage.UPLOAD, b"stay", vector) for name in NAMES}
    requests["west"] = Envelope(Stage.UPLOAD, b"die-in-upload", vector)
    arrived = {name: (answer, time.monotonic() - began) for name, answer in link.ask(requests, 6)}
    assert arrived["west"][0] == Lost(LossReason.DEADLINE)
    assert arrived["west"][1] < 7
    assert max(arrived["north"][1], arrived["south"][1]) < 5
    assert arrived["north"][0].vector == vector


def test_a_hospital_that_leaves_is_gone_at_once_and_lost_after_a_few_tries(link, place):
    node = place.nodes["west"].process
    node.terminate()
    began = time.monotonic()
    node.wait(10)
    assert "end" in place.nodes["west"].text
    assert time.monotonic() - began < 3  # serve itself returns within 1 s; the rest is the interpreter's exit
    assert link.online() == {"north", "south"}
    began = time.monotonic()
    assert ask(link, b"who", 60)["west"] == Lost(LossReason.OFFLINE)
    assert time.monotonic() - began < 12


def test_a_superlink_that_hangs_holds_up_no_stage(link, place):
    superlink = psutil.Process(place.superlink.process_id)
    superlink.suspend()
    try:
        began = time.monotonic()
        replies = ask(link, b"hang", 2)
        assert time.monotonic() - began < 3
    finally:
        superlink.resume()
    assert replies == dict.fromkeys(NAMES, Lost(LossReason.DEADLINE))
    assert {reply.body for reply in ask(link, b"again").values()} == {b"again!"}


def test_a_reply_outlives_a_superlink_that_is_killed_meanwhile(link, place):
    answers: dict = {}
    thread = threading.Thread(target=lambda: answers.update(ask(link, b"sleep 2", 60)))
    thread.start()
    wait_until(lambda: all("handle sleep 2" in place.nodes[name].text for name in NAMES), 20)
    os.kill(place.superlink.process_id, signal.SIGKILL)
    wait_until(lambda: "lost" in place.nodes["north"].states(), 20)
    place.superlink.stop()
    place.superlink.start()
    thread.join(60)
    assert {name: answer.body for name, answer in answers.items()} == dict.fromkeys(NAMES, b"sleep 2!")
    assert place.nodes["north"].states()[-2:] == ["lost", "connected"]
    assert not any("Traceback" in place.nodes[name].text for name in NAMES)
    assert set(ask(link, b"after")) == set(NAMES)


def test_a_state_that_is_lost_ends_the_exchange_and_the_next_one_has_a_new_run(link, place):
    answers: dict = {}
    thread = threading.Thread(target=lambda: answers.update(ask(link, b"sleep 3", 120)))
    began = time.monotonic()
    thread.start()
    wait_until(lambda: all("handle sleep 3" in place.nodes[name].text for name in NAMES), 20)
    os.kill(place.superlink.process_id, signal.SIGKILL)
    place.superlink.stop()
    (place.folder / "flower" / DATABASE).write_bytes(b"noise" * 10_000)
    place.superlink.start()
    Members(**place.members).register()
    thread.join(60)
    assert time.monotonic() - began < 60  # half of the deadline
    assert answers == dict.fromkeys(NAMES, Lost(LossReason.FORGOTTEN))
    wait_until(lambda: link.online() == set(NAMES), 30)
    assert set(ask(link, b"after the loss")) == set(NAMES)
    assert {reply.body for reply in ask(link, b"after").values()} == {b"after!"}


def test_a_key_that_is_not_registered_is_refused(place):
    node = place.start_node("stranger", identity=keys.new_identity("stranger"))
    wait_until(lambda: node.states() == ["connecting", "refused"], 30)
    node.process.terminate()
    assert node.process.wait(10) == 0


def test_a_coordinator_with_another_authority_is_not_trusted(place):
    other = tls.new_authority("other").certificate_pem.encode()
    node = place.start_node("careful", identity=place.identities["north"], authority=other)
    wait_until(lambda: node.states() == ["connecting", "untrusted"], 30)


def test_a_certificate_for_another_host_is_not_trusted(place):
    states: list[LinkState] = []
    stop = threading.Event()
    by_name = place.addresses.fleet.replace("127.0.0.1", "localhost")

    def on_state(state: LinkState) -> None:
        states.append(state)
        if state in {LinkState.UNTRUSTED, LinkState.CONNECTED}:
            stop.set()

    deadline = threading.Timer(30, stop.set)
    deadline.start()
    serve(by_name, place.authority, place.identities["north"].link_key, None, stop, on_state)
    deadline.cancel()
    # The name has two addresses; gRPC reports one of them, and nobody listens at the other.
    assert [state for state in states if state is not LinkState.LOST] == [
        LinkState.CONNECTING,
        LinkState.UNTRUSTED,
    ]


def test_a_port_in_use_is_one_line_and_nothing_is_written(place, tmp_path):
    second = SuperLink(tmp_path / "second", place.addresses, place.tls_files)
    with pytest.raises(InputError, match=f"cannot listen on {place.addresses.fleet}: address already in use"):
        second.start()
    assert not (tmp_path / "second").exists()
    assert second.process_id is None


def test_a_missing_tls_file_is_one_line(place, tmp_path):
    files = TlsFiles(tmp_path / "no.crt", place.tls_files.key, place.tls_files.authority)
    with pytest.raises(InputError, match=r"no\.crt: no such file"):
        SuperLink(tmp_path / "flower", place.addresses, files).start()


def test_a_certificate_that_does_not_name_the_loopback_address_is_one_line(tmp_path):
    place = Place(tmp_path, credentials=tls.new_server_credentials("test", ["fl.example.org"]))
    with pytest.raises(InputError, match=r"server\.crt: does not name 127\.0\.0\.1"):
        place.superlink.start()
    assert not (tmp_path / "flower").exists()


def test_a_wrong_serverappio_address_is_unreachable(place):
    with pytest.raises(Unreachable, match="ServerAppIo"):
        FlowerLink(serverappio_address=f"127.0.0.1:{free_port()}", **place.members)


def test_flower_writes_only_into_its_folder(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    place = Place(tmp_path)
    with place.superlink, place.link():
        pass
    assert list(home.iterdir()) == []
    assert {path.name for path in (tmp_path / "flower").iterdir()} >= {"state.sqlite", "superlink.log"}
    assert place.superlink.process_id is None


def test_a_closed_door_is_unreachable_at_once(tmp_path):
    place = Place(tmp_path)
    began = time.monotonic()
    with pytest.raises(Unreachable, match="Control API"):
        Members(**place.members).online()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("listens", "expected"),
    [(False, [LinkState.CONNECTING, LinkState.LOST]), (True, [LinkState.CONNECTING])],
    ids=["nobody listens", "somebody accepts and says nothing"],
)
def test_a_coordinator_that_is_not_there_is_retried_until_stop(listens, expected):
    states: list[LinkState] = []
    stop, identity = threading.Event(), keys.new_identity("north")
    authority = tls.new_authority("test").certificate_pem.encode()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        if listens:
            listener.listen()
        thread = threading.Thread(
            target=serve, args=(address, authority, identity.link_key, None, stop, states.append)
        )
        thread.start()
        time.sleep(2.5)
        stop.set()
        thread.join(1.0)
        assert not thread.is_alive()
    assert states == expected


def test_an_error_of_the_handler_ends_the_node_loudly(link, place):
    replies = ask(link, b"raise", 3, names=["south"])
    assert isinstance(replies["south"], Lost)
    assert place.nodes["south"].process.wait(10) == 1
    assert "ValueError: a bug in the handler" in place.nodes["south"].text
