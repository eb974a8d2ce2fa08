"""Studies that break a rule, met by every command that reads one."""

import pytest
from support.spoiling import edit
from support.studies import FULL_BATCH, TEXT, small_study, study_text

from fedpriv.study import dump_study, load_study


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


class TestPlanning:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            (
                (("epsilon = 8.0", "epsilon = 1e-3"), ("delta = 1e-5", "delta = 1e-12")),
                "no noise multiplier up to",
            ),
            (
                (FULL_BATCH, ("delta = 1e-5", "delta = 1e-300")),
                "delta 1e-300 is below what the accountant resolves",
            ),
        ],
    )
    def test_a_target_that_no_noise_reaches(self, place, refused, changes, reason):
        (place / "study.toml").write_text(study_text(*changes))
        said = refused("study", "plan", "study.toml")
        assert said.startswith("the study small cannot be planned: ")
        assert reason in said

    def test_far_too_much_noise_is_still_accounted_for(self, place, fedpriv, refused):
        (place / "loud.toml").write_text(dump_study(small_study().with_noise_multiplier(1e5)))
        assert fedpriv("node", "approve", "loud.toml", "--home", "A").code == 0
        edit(place / "loud.toml", "noise_multiplier = 100000.0", "noise_multiplier = 1e9")
        said = refused("node", "approve", "loud.toml", "--home", "A")
        assert said == "loud.toml: [privacy] noise_multiplier: expected `float` <= 100000.0"

    def test_an_old_claim_that_is_too_good(self, place, refused):
        study = load_study(place / "study.toml").with_noise_multiplier(0.3)
        (place / "study.toml").write_text(dump_study(study))
        said = refused("node", "approve", "study.toml", "--home", "A", code=1)
        assert said.startswith("the study claims epsilon 8, but 8 steps at noise_multiplier 0.3 spend ")


@pytest.mark.parametrize(
    "command", [("study", "plan", "other.toml"), ("node", "approve", "other.toml", "--home", "B")]
)
def test_a_network_that_is_not_installed(place, refused, command):
    (place / "other.toml").write_text(dump_study(small_study(('name = "smear-cnn"', 'name = "resnet"'))))
    said = refused(*command)
    assert said == "the study small: [model] name: there is no network 'resnet' here"
