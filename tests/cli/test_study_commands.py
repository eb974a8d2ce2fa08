import pytest
from support.studies import FULL_BATCH, TEXT, study_text

from fedpriv.study import load_study


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(study_text(FULL_BATCH))
    return path


def test_a_new_study_parses_and_names_the_next_step(fedpriv, tmp_path):
    outcome = fedpriv("study", "new", "leukaemia", "--hospital", "charite=653", "--hospital", "mayo=544")
    assert outcome.code == 0
    assert "next: fedpriv study plan leukaemia.toml" in outcome.out
    study = load_study(tmp_path / "leukaemia.toml")
    assert study.hospitals == {"charite": 653, "mayo": 544}
    assert study.study.classes == ("Benign", "Early", "Pre", "Pro")
    assert "# " in (tmp_path / "leukaemia.toml").read_text()


@pytest.mark.parametrize("count", [2, 3, 4, 5, 10, 31])
def test_a_new_study_is_sound_for_any_number_of_hospitals(fedpriv, tmp_path, count):
    options = [word for number in range(count) for word in ("--hospital", f"h{number}=100000")]
    assert fedpriv("study", "new", "many", *options).code == 0
    study = load_study(tmp_path / "many.toml")
    assert study.privacy.delta * study.units < 1
    rules = study.secure_aggregation
    assert rules.colluders == (1 if count >= 3 else 0)
    assert rules.dropouts == (1 if count >= 4 else 0)


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (2, "two hospitals cannot hide from each other"),
        (3, "one of the 3 hospitals may be in league with the coordinator; none may be lost in a round"),
        (5, "one of the 5 hospitals may be in league with the coordinator; one may be lost in a round\n"),
    ],
)
def test_a_new_study_says_what_it_withstands(fedpriv, count, line):
    options = [word for number in range(count) for word in ("--hospital", f"h{number}=100")]
    assert line in fedpriv("study", "new", "x", *options).out


def test_a_new_study_never_overwrites(fedpriv, study_file):
    outcome = fedpriv("study", "new", "x", "--hospital", "A=1", "--hospital", "B=1", "--out", study_file)
    assert outcome.code == 2
    assert "exists already" in outcome.err
    assert load_study(study_file).study.name == "small"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hospital", "A"], "'A' is not NAME=UNITS"),
        (["--hospital", "A=-1"], "'A=-1' is not NAME=UNITS"),
        (["--hospital", "A=0", "--hospital", "B=1"], "[hospitals] A = 0"),
        (["--hospital", "A=9"], "at least two must not collude"),
        (["--hospital", "A=9", "--hospital", "B=9", "--classes", "one"], "length >= 2"),
    ],
)
def test_a_new_study_that_cannot_be_is_refused(fedpriv, tmp_path, options, message):
    outcome = fedpriv("study", "new", "x", *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_planning_writes_the_noise_and_says_what_it_means(fedpriv, study_file):
    outcome = fedpriv("study", "plan", study_file)
    assert outcome.code == 0
    study = load_study(study_file)
    assert f"noise_multiplier = {study.noise_multiplier}, written into" in outcome.out
    assert (
        "an attacker who knows everything except one image and has narrowed it to 100 candidates"
        in outcome.out
    )
    assert "(guessing: 1 %)" in outcome.out
    assert "for a patient with 10 images, all together: epsilon" in outcome.out
    assert "epsilon over rounds (of 8):" in outcome.out
    assert f"     4  [{'#' * 40}]" in outcome.out
    assert study_file.read_text().startswith("# a comment that must survive planning")


def test_a_dry_run_writes_nothing_and_json_agrees_with_the_written_study(fedpriv, study_file):
    dry = fedpriv("study", "plan", study_file, "--dry-run", "--json")
    assert study_file.read_text() == study_text(FULL_BATCH)
    assert fedpriv("study", "plan", study_file, "--json").json == dry.json
    study = load_study(study_file)
    assert dry.json["noise_multiplier"] == study.noise_multiplier
    assert dry.json["study_digest"] == study.digest.hex()
    assert 7.9 < dry.json["epsilon"] <= 8 < dry.json["epsilon_rdp"]
    assert dry.json["course"][-1] == {"rounds": 4, "epsilon": dry.json["epsilon"]}
    assert len(dry.json["curve"]) == 101


def test_showing_a_study(fedpriv, study_file):
    study = load_study(study_file)
    text = fedpriv("study", "show", study_file)
    assert study.digest.hex() in text.out
    assert "threshold  2 of 3 hospitals; up to 1 may drop out" in text.out
    assert "not planned yet" in text.out
    shown = fedpriv("study", "show", study_file, "--json").json
    assert (shown["digest"], shown["threshold"], shown["units"], shown["steps"]) == (
        study.digest.hex(),
        2,
        240,
        8,
    )
    assert shown["training"]["rounds"] == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rounds = 4", "roundz = 4", "error: study.toml: [training] roundz: unknown key\n"),
        ("epsilon = 8.0", "epsilon = -1", "error: study.toml: [privacy] epsilon: expected `float` > 0.0\n"),
        ("colluders = 0", "colluders = 1", "2 t > n + colluders = 3 + 1\n"),
    ],
)
@pytest.mark.parametrize("command", ["show", "plan"])
def test_a_wrong_study_is_one_line_and_exit_code_2(fedpriv, study_file, command, old, new, message):
    broken = TEXT.replace(old, new)
    study_file.write_text(broken)
    outcome = fedpriv("study", command, "study.toml")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""
    assert study_file.read_text() == broken


@pytest.mark.parametrize("command", ["new", "plan", "show"])
def test_every_command_has_help_with_an_example(fedpriv, command):
    outcome = fedpriv("study", command, "--help")
    assert outcome.code == 0
    assert f"Example: fedpriv study {command}" in " ".join(outcome.out.split())
