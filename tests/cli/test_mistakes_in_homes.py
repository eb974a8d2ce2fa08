"""Rosters, keys and configurations that are missing, edited, or somebody else's."""

import pytest
from support.spoiling import edit


class TestRosters:
    def test_without_this_hospital(self, place, refused, fedpriv):
        assert fedpriv("keys", "new", "D", "--home", "D").code == 0
        before = (place / "D" / "roster.toml").exists()
        shown = fedpriv("keys", "roster", "coordinator/roster.toml", "--pin", "--yes", "--home", "D")
        assert shown.code == 2
        assert shown.err.startswith("error: the roster of demo has no hospital D; it has A, B, C\nhint: ")
        assert (place / "D" / "roster.toml").exists() == before

        blocks = (place / "A" / "roster.toml").read_text().split("[[hospitals]]")
        kept = [block for block in blocks if not block.startswith('\nname = "A"')]
        (place / "A" / "roster.toml").write_text("[[hospitals]]".join(kept))
        said = "A/roster.toml: roster number 1 has a countersignature of A, who is not in it"
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
        said = "A/roster.toml: roster number 1 is not the one that A countersigned"
        assert refused("node", "start", "--home", "A") == said

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
