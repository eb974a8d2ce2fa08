"""What users get wrong: each is one clear line and exit code 2, and leaves every file as it was."""

import errno
import os
import socket

import pytest
from PIL import Image
from support.studies import TEXT, study_text

from fedpriv.study import dump_study, load_study


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def first_image_of(place, label):
    return min((place / "smears" / label).glob("A-*.png"))


LOOKING = [
    ("data", "check", "smears"),
    ("data", "split", "smears", "--out", "other.csv"),
    ("model", "evaluate", "model", "--images", "smears"),
    ("demo", "--images", "smears", "--out", "out"),
    ("node", "start", "--home", "A"),
]


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
class TestImages:
    def test_no_such_folder(self, place, refused, command):
        (place / "smears").rename(place / "elsewhere")
        assert refused(*command).endswith("smears: no such folder of images")

    def test_a_file_in_the_place_of_the_folder(self, place, refused, command):
        (place / "smears").rename(place / "elsewhere")
        (place / "smears").write_text("")
        assert refused(*command).endswith("smears: no such folder of images")

    def test_an_empty_class(self, place, refused, command):
        (place / "smears" / "manifest.csv").unlink()
        for image in (place / "smears" / "Pro").iterdir():
            image.unlink()
        assert refused(*command).endswith("smears: class Pro has no image")

    def test_a_manifest_row_whose_file_is_missing(self, place, refused, command):
        image = first_image_of(place, "Early")
        rows = (place / "smears" / "manifest.csv").read_text().splitlines()
        (number,) = [n for n, row in enumerate(rows, start=1) if image.name in row]
        image.unlink()
        message = refused(*command)
        assert message.endswith(f"manifest.csv, row {number}: no such file Early/{image.name}")

    def test_a_manifest_that_is_no_utf_8(self, place, refused, command):
        manifest = place / "smears" / "manifest.csv"
        manifest.write_bytes(manifest.read_text().encode("utf-16"))
        assert "manifest.csv: cannot be read as a CSV file in UTF-8" in refused(*command)

    def test_a_manifest_with_a_mistyped_column(self, place, refused, command):
        edit(place / "smears" / "manifest.csv", "patient_id", "patientid")
        assert "column 'patientid' is unknown or repeated" in refused(*command)


def test_a_text_file_named_jpg(place, refused, fedpriv):
    (place / "A" / "note.jpg").write_text("not an image")
    image = first_image_of(place, "Pre")
    image.write_text("not an image")
    where = f"Pre/{image.name}: not a JPEG, PNG, TIFF or BMP image"
    assert refused("node", "start", "--home", "A").endswith(where)
    assert refused("model", "evaluate", "model", "--images", "smears").endswith(where)
    assert refused("model", "predict", "model", "A/note.jpg") == "note.jpg: " + where.partition(": ")[2]
    found = fedpriv("data", "check", "smears")
    assert found.code == 1  # looking for bad files is what the command is for
    assert f"found: {where}" in found.out


def test_an_image_too_small_to_be_a_smear(place, refused):
    Image.new("RGB", (8, 8)).save(first_image_of(place, "Pro"))
    assert "8 x 8 pixels, the smallest side allowed is 64" in refused("node", "start", "--home", "A")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rounds = 4", "rounds = 4\nepochs = 2", "[training] epochs: unknown key"),
        ("epsilon = 8.0", "epsilon = -1", "[privacy] epsilon: expected `float` > 0.0"),
        ("epsilon = 8.0", "epsilon = inf", 'noise = "local" contradicts epsilon = inf'),
        ("epsilon = 8.0", "epsilon = nan", "[privacy] epsilon: expected `float` > 0.0"),
        ("colluders = 0", "colluders = 1", "t = 3 is the smallest t with 2 t > n + colluders = 3 + 1"),
        ("dropouts = 1", "dropouts = 2", "dropouts = 2, at most n - t = 1: t = 2"),
        (
            "smallest_cohort = 2",
            "smallest_cohort = 3",
            "smallest_cohort = 3 must lie between the threshold t = 2",
        ),
        ("delta = 1e-5", "delta = 0.1", "delta = 0.1 is not below 1 / 240 declared units"),
        ("A = 100", "A = 0", "[hospitals] A = 0: declare between 1 and 1000000000 units"),
        ("rounds = 4", "rounds = 1_000_000", "rounds x local_steps = 2000000 steps: at most 1000000"),
        ("[study]", "[study", "is not TOML: "),
        (TEXT, "", "missing section or key: study"),
    ],
    ids=lambda text: text.splitlines()[-1][:24] if text else "empty",
)
@pytest.mark.parametrize(
    "command",
    [
        ("study", "show", "wrong.toml"),
        ("study", "plan", "wrong.toml"),
        ("node", "approve", "wrong.toml", "--home", "B"),
        ("round", "--study", "wrong.toml", "--home", "coordinator"),
        ("demo", "--study", "wrong.toml", "--out", "out"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_wrong_study(place, refused, command, old, new, message):
    assert old in TEXT
    (place / "wrong.toml").write_text(TEXT.replace(old, new, 1))
    said = refused(*command)
    assert said.startswith("wrong.toml")
    assert message in said


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
        needed = {"keys": 4, "coordinator": 8, "node": 4}[command[0]]
        if writes < needed:
            assert "No space left on device" in refused(*command, "--home", "new/home")
            assert not (place / "new").exists()
        else:
            assert fedpriv(*command, "--home", "new/home").code == 0

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_a_folder_that_is_not_ours(self, place, refused, command):
        (place / "locked").mkdir(mode=0o500)
        assert "Permission denied" in refused(*command, "--home", "locked/home")


class TestRosters:
    def test_without_this_hospital(self, place, refused, fedpriv):
        assert fedpriv("keys", "new", "D", "--home", "D").code == 0
        before = (place / "D" / "roster.toml").exists()
        shown = fedpriv("keys", "roster", "coordinator/roster.toml", "--pin", "--yes", "--home", "D")
        assert shown.code == 2
        assert shown.err.startswith("error: the roster of demo has no hospital D; it has A, B, C\nhint: ")
        assert (place / "D" / "roster.toml").exists() == before

        blocks = (place / "A" / "roster.toml").read_text().split("[[hospitals]]")
        kept = [block for block in blocks if 'name = "A"' not in block]
        (place / "A" / "roster.toml").write_text("[[hospitals]]".join(kept))
        said = "the roster of demo has no hospital A; it has B, C"
        assert refused("node", "start", "--home", "A") == said
        assert refused("node", "status", "--home", "A") == said

    def test_edited_by_hand(self, place, refused):
        edit(place / "A" / "roster.toml", 'federation = "demo"', 'federation = "demo"\nversion = 2')
        assert refused("node", "start", "--home", "A") == "A/roster.toml: unknown section or key: version"

    def test_with_another_key_for_us(self, place, refused):
        text = (place / "A" / "roster.toml").read_text()
        key = text.split('name = "A"')[1].split('"')[1]
        other = text.split('name = "B"')[1].split('"')[1]
        text = text.replace(other, "x").replace(key, other).replace('"x"', f'"{key}"')
        (place / "A" / "roster.toml").write_text(text)
        assert (
            refused("node", "start", "--home", "A") == "A/roster.toml has another key for A than A/identity"
        )

    def test_missing(self, place, refused):
        (place / "A" / "roster.toml").unlink()
        (place / "coordinator" / "roster.toml").unlink()
        assert refused("node", "start", "--home", "A") == "A/roster.toml: no roster yet"
        for command in (
            ["coordinator", "start"],
            ["coordinator", "status"],
            ["round", "--study", "study.toml"],
        ):
            assert refused(*command, "--home", "coordinator") == "coordinator/roster.toml: no roster yet"

    def test_a_study_for_somebody_else(self, place, refused):
        edit(place / "study.toml", "C = 60", "Z = 60")
        said = refused("round", "--study", "study.toml", "--home", "coordinator")
        assert said == "the roster of demo has no hospital Z; it has A, B, C"

    def test_a_study_that_is_not_for_this_hospital(self, place, fedpriv):
        edit(place / "study.toml", "C = 60", "Z = 60")
        outcome = fedpriv("node", "approve", "study.toml", "--home", "C")
        assert outcome.code == 1  # nothing is wrong with the file; the answer is no
        assert outcome.err == "error: the study small is for A, B, Z, not for C\n"

    def test_an_edited_request(self, place, refused):
        (place / "coordinator" / "roster.toml").unlink()
        edit(place / "A" / "A.request.toml", 'name = "A"', 'name = "Z"')
        said = refused("keys", "enrol", "A/A.request.toml", "--federation", "demo", "--home", "coordinator")
        assert said == "A/A.request.toml: the request of Z was changed after it was signed"


class TestPrivateKeys:
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
    @pytest.mark.parametrize("file", ["signing.pem", "link.pem"])
    def test_of_a_hospital_readable_by_others(self, place, refused, file, mode):
        (place / "A" / "identity" / file).chmod(mode)
        for command in (
            ["node", "start"],
            ["node", "status"],
            ["node", "budget"],
            ["node", "approve", "study.toml", "--again"],
            ["keys", "show"],
        ):
            said = refused(*command, "--home", "A")
            assert said == f"A/identity/{file} is open to other users (mode {mode:o})"

    @pytest.mark.parametrize("file", ["identity/signing.pem", "tls/ca.key", "tls/server.key"])
    def test_of_the_coordinator_readable_by_others(self, place, refused, file):
        (place / "coordinator" / file).chmod(0o640)
        said = refused("coordinator", "start", "--home", "coordinator")
        assert said == f"coordinator/{file} is open to other users (mode 640)"

    def test_a_folder_of_keys_open_to_others(self, place, refused):
        (place / "A" / "identity").chmod(0o755)
        assert refused("keys", "show", "--home", "A") == "A/identity is open to other users (mode 755)"

    @pytest.mark.parametrize(
        "content", [b"", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]
    )
    def test_damaged(self, place, refused, content):
        (place / "A" / "identity" / "signing.pem").write_bytes(content)
        said = refused("node", "start", "--home", "A")
        assert said == "A/identity/signing.pem holds no private key"

    def test_of_another_certificate(self, place, refused):
        tls = place / "coordinator" / "tls"
        (tls / "server.key").write_bytes((tls / "ca.key").read_bytes())
        said = refused("coordinator", "start", "--home", "coordinator")
        assert said == "coordinator/tls/server.key: not the key of server.crt"

    def test_missing(self, place, refused):
        (place / "A" / "identity" / "link.pem").unlink()
        assert refused("keys", "show", "--home", "A").startswith("A/identity/link.pem cannot be read: ")


class TestHomes:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('coordinator = "127.0.0.1:9092"', 'coordinator = "nowhere"', "is no HOST:PORT with a port"),
            ('name = "A"', 'name = "a b"', "name: 'a b' is not a name"),
            (
                'hospital = "A"',
                'hospital = "A"\nsplit = "training"',
                "split: 'training' is none of train, test",
            ),
            ("[policy]", "[polizy]", "unknown section or key: polizy"),
            ("smallest_cohort = 2", "smallest_cohort = 1", "smallest_cohort: expected `int` >= 2"),
        ],
    )
    def test_a_wrong_node_toml(self, place, refused, old, new, message):
        edit(place / "A" / "node.toml", old, new)
        said = refused("node", "start", "--home", "A")
        assert said.startswith("A/node.toml: ")
        assert message in said

    def test_the_images_of_a_hospital_that_the_manifest_does_not_name(self, place, refused):
        edit(place / "A" / "node.toml", 'hospital = "A"', 'hospital = "Charite"')
        assert refused("node", "start", "--home", "A").endswith("smears: no image of hospital Charite")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("[deadlines]", "[deadlinez]", "unknown section or key: deadlinez"),
            ("join_s = 60.0", "join_s = 0", "[deadlines] join_s: expected `float` > 0.0"),
            (":9093", ":9092", "[listen] uses a port twice: 9091, 9092, 9092"),
            (
                'control = "127.0.0.1',
                'control = "0.0.0.0',
                "control = '0.0.0.0:9093': Flower asks no login there",
            ),
        ],
    )
    def test_a_wrong_coordinator_toml(self, place, refused, old, new, message):
        edit(place / "coordinator" / "coordinator.toml", old, new)
        said = refused("coordinator", "start", "--home", "coordinator")
        assert said.startswith("coordinator/coordinator.toml: ")
        assert said.endswith(message)

    def test_no_study_approved(self, place, fedpriv, refused):
        assert fedpriv("node", "start", "--home", "B").code == 2  # and a journal is begun
        assert refused("node", "start", "--home", "B") == "B: no study is approved yet"

    def test_an_approved_study_that_was_edited_or_lost(self, place, refused):
        (approved,) = (place / "A" / "approved").iterdir()
        edit(approved, "rounds = 4", "rounds = 5")
        assert refused("node", "start", "--home", "A").endswith(".toml was changed after it was approved")
        approved.unlink()
        assert "is missing, but the journal says it was approved" in refused("node", "budget", "--home", "A")

    def test_a_folder_name_that_cannot_name_the_images(self, place, refused):
        (place / "Blut 2024").mkdir()
        options = ["--name", "Q", "--images", "Blut 2024", "--coordinator", "localhost:1"]
        said = refused("node", "init", "--home", "Q", *options)
        assert said.startswith("invalid value for --dataset: 'Blut 2024' has other signs")

    def test_a_run_that_is_none(self, place, refused):
        assert refused("round", "--home", "coordinator").endswith("runs: no run yet")
        said = refused("round", "--home", "coordinator", "--resume", "nope")
        assert said == "coordinator/runs/nope: no run here"
        both = refused("round", "--home", "coordinator", "--resume", "x", "--study", "study.toml")
        assert both == "--study begins a run and --resume goes on with one"

    def test_a_stray_folder_among_the_runs_stops_nothing(self, place, fedpriv):
        (place / "coordinator" / "runs" / "lost+found").mkdir(parents=True)
        assert fedpriv("coordinator", "status", "--home", "coordinator", "--json").json["runs"] == []


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
        assert refused("model", "show", "model").endswith("model.npy: cannot be read as one NumPy array")
        vector.unlink()
        assert refused("model", "show", "model").endswith("model.npy: cannot be read as one NumPy array")

    @pytest.mark.parametrize(
        "change", [('"image_size": 64', '"image_size": -1'), ('"study"', '"stady"'), ("{", "")]
    )
    def test_with_a_card_that_is_none(self, place, refused, change):
        edit(place / "model" / "card.json", *change)
        for command in (["show", "model"], ["predict", "model", first_image_of(place, "Pro")]):
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
            ("study show study.toml --bogus", "no such option '--bogus'"),
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
            ("keys enrol A/A.request.toml A/A.request.toml --federation x --home coordinator", "same name"),
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


class TestPlanning:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            (
                (("epsilon = 8.0", "epsilon = 1e-3"), ("delta = 1e-5", "delta = 1e-12")),
                "no noise multiplier up to",
            ),
            ((("delta = 1e-5", "delta = 1e-300"),), "delta 1e-300 is below what the accountant resolves"),
        ],
    )
    def test_a_target_that_no_noise_reaches(self, place, refused, changes, reason):
        (place / "study.toml").write_text(study_text(*changes))
        said = refused("study", "plan", "study.toml")
        assert said.startswith("the study small cannot be planned: ")
        assert reason in said

    def test_a_tiny_epsilon_is_planned_all_the_same(self, place, fedpriv):
        (place / "study.toml").write_text(study_text(("epsilon = 8.0", "epsilon = 1e-3")))
        assert fedpriv("study", "plan", "study.toml").code == 0

    def test_an_old_claim_that_is_too_good(self, place, refused):
        study = load_study(place / "study.toml").with_noise_multiplier(0.3)
        (place / "study.toml").write_text(dump_study(study))
        said = refused("node", "approve", "study.toml", "--home", "A", code=1)
        assert said.startswith("the study claims epsilon 8, but 8 steps at noise_multiplier 0.3 spend ")


def test_a_round_without_a_coordinator_begins_no_run(place, refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens: a call is refused at once
        port = taken.getsockname()[1]
        edit(place / "coordinator" / "coordinator.toml", "127.0.0.1:9093", f"127.0.0.1:{port}")
        said = refused("round", "--study", "study.toml", "--home", "coordinator", code=1)
    assert said.startswith(f"no coordinator answers at 127.0.0.1:{port} (Flower's Control API): ")
