"""What users type wrong: each is one clear line and exit code 2, and leaves every file as it was."""

import errno
import os
import socket

import pytest
from support.spoiling import edit, first_image_of

FILES = [
    ("study", "show"),
    ("study", "plan"),
    ("keys", "roster"),
    ("keys", "enrol", "--federation", "x", "--home", "coordinator"),
    ("node", "approve", "--home", "B"),
    ("round", "--home", "coordinator", "--study"),
    ("demo", "--study"),
]


@pytest.mark.parametrize("command", FILES, ids=lambda command: " ".join(command[:2]))
def test_a_file_that_is_none_of_ours(place, refused, command):
    (place / "folder").mkdir()
    (place / "latin.toml").write_bytes('name = "Charité"'.encode("latin-1"))
    assert refused(*command, "none.toml") == "none.toml cannot be read: No such file or directory"
    assert refused(*command, "folder") == "folder cannot be read: Is a directory"
    assert refused(*command, "latin.toml") == "latin.toml cannot be read: not UTF-8 text"
    assert refused(*command, "model/card.json").startswith("model/card.json is not TOML: ")


HOMES = [
    ("node", "approve", "study.toml"),
    ("node", "start"),
    ("node", "status"),
    ("node", "budget"),
    ("coordinator", "start"),
    ("coordinator", "status"),
    ("round",),
    ("keys", "enrol", "A/A.request.toml", "--federation", "x"),
]


@pytest.mark.parametrize("command", HOMES, ids=lambda command: " ".join(command[:2]))
def test_the_wrong_home(place, refused, command):
    other = "coordinator" if command[0] == "node" else "A"
    for home in (other, "none", "study.toml"):
        message = refused(*command, "--home", home)
        assert message.startswith(f"{home}/")
        assert message.endswith((": no node here", ": no coordinator here"))


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "new", "Q"),
        ("coordinator", "init"),
        ("node", "init", "--name", "Q", "--images", "smears", "--coordinator", "localhost:1"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
class TestNewHomes:
    def test_a_home_that_exists_is_kept(self, place, refused, command):
        home = "coordinator" if command[0] == "coordinator" else "A"
        message = refused(*command, "--home", home)
        assert "already" in message

    def test_a_file_in_its_place(self, refused, place, command):
        assert refused(*command, "--home", "study.toml") == "study.toml is a file, not a folder"

    @pytest.mark.parametrize("writes", range(10))
    def test_a_disk_that_is_full(self, place, fedpriv, refused, monkeypatch, command, writes):
        """The disk fills up at every file in turn; it must not be the last, where nothing is left to undo."""
        synced, room = os.fsync, [writes]

        def fsync(descriptor):
            room[0] -= 1
            if room[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            synced(descriptor)

        monkeypatch.setattr("os.fsync", fsync)
        needed = {"keys": 4, "coordinator": 8, "node": 5}[command[0]]
        if writes < needed:
            assert "No space left on device" in refused(*command, "--home", "new/home")
            assert not (place / "new").exists()
        else:
            assert fedpriv(*command, "--home", "new/home").code == 0

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_a_folder_that_is_not_ours(self, place, refused, command):
        (place / "locked").mkdir(mode=0o500)
        assert "Permission denied" in refused(*command, "--home", "locked/home")


class TestModels:
    def test_none_there(self, place, refused):
        for path in ("none", "smears", "study.toml"):
            assert refused("model", "show", path) == f"{path}: neither a model folder nor a run with one"

    def test_tampered_with(self, place, refused):
        vector = place / "model" / "model.npy"
        content = vector.read_bytes()
        vector.write_bytes(content[:-1] + b"\x01")
        assert refused("model", "show", "model").endswith("model.npy: its digest is not the one in card.json")
        vector.write_bytes(content[:-1])
        assert "model.npy: not the 7 float32 of its card" in refused("model", "show", "model")
        vector.unlink()
        assert refused("model", "show", "model").endswith("model.npy: No such file or directory")

    @pytest.mark.parametrize(
        "change", [('"image_size": 64', '"image_size": -1'), ('"study"', '"stady"'), ("{", "")]
    )
    def test_with_a_card_that_is_none(self, place, refused, change):
        edit(place / "model" / "card.json", *change)
        for command in (["show", "model"], ["predict", "model", first_image_of(place / "smears", "Pro")]):
            assert refused("model", *command).startswith("model/card.json: ")

    def test_no_image_to_look_at(self, place, refused):
        assert refused("model", "predict", "model", "none.png").startswith("none.png: cannot be read")
        assert refused("model", "predict", "model", "smears").startswith("smears: cannot be read")


class TestArguments:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("nonsense", "no such command 'nonsense'"),
            ("study show", "missing argument 'STUDY'"),
            ("study show study.toml --bogus", "no such option: --bogus"),
            ("study new x", "missing option '--hospital'"),
            ("study new x --hospital A=1 --hospital A=2", "A is named twice"),
            ("study new x/y --hospital A=9 --hospital B=9", "[study] name: expected"),
            ('study new x --hospital A"=9 --hospital B=9', "'A\"' is not a name"),
            ("round --home coordinator --count 0", "0 is not in the range x>=1"),
            ("data split smears --test-fraction 1.5 --out x.csv", "1.5 is not in the range"),
            ("data split smears --hospitals -1 --out x.csv", "-1 is not in the range"),
            ("data split smears", "smears/manifest.csv: exists already"),
            ("data split smears --replace --out A", "A: cannot be written"),
            ("data generate --out smears", "smears: exists already"),
            ("data generate --out none/here --images-per-patient 1", "none/here: cannot be written"),
            ("data check smears --classes Benign,Benign", "repeats a name or leaves one empty"),
            ("data check smears --classes Benign", "label 'Early' is none of Benign"),
            ("coordinator init --home new --listen 9092", "'9092' is no HOST:PORT"),
            ("coordinator init --home new --listen host:70000", "'host:70000' is no HOST:PORT"),
            ("coordinator init --home new --host *", "'*' is neither a host name nor an IP address"),
            ("coordinator init --home new --name a/b", "'a/b' is not a name"),
            ("keys enrol A/A.request.toml A/A.request.toml --home coordinator", "are of one hospital"),
        ],
    )
    def test_out_of_range_or_unknown(self, place, refused, line, message):
        assert message in refused(*line.split(" "))

    @pytest.mark.parametrize(
        "line", ["keys new A --home @", "data check @", "study show @", "keys new A --home=@"]
    )
    def test_an_empty_word_is_not_the_current_folder(self, place, refused, line):
        """As in ``--home "$HOSPITAL"`` with the variable unset."""
        said = refused(*(word.replace("@", "") for word in line.split(" ")))
        assert said.endswith("is empty: is a variable of your shell unset?")


def test_a_round_without_a_coordinator_begins_no_run(place, refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens: a call is refused at once
        port = taken.getsockname()[1]
        edit(place / "coordinator" / "coordinator.toml", "127.0.0.1:9093", f"127.0.0.1:{port}")
        said = refused("round", "--study", "study.toml", "--home", "coordinator", code=1)
    assert said.startswith(f"no coordinator answers at 127.0.0.1:{port} (Flower's Control API): ")
