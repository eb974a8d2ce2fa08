import shutil

import pytest
from support.charges import charge, pictures
from support.studies import FULL_BATCH, small_study

from fedpriv.dp.accounting import composed_epsilon
from fedpriv.node.events import Close, Refuse
from fedpriv.node.home import open_home
from fedpriv.secagg.refusal import RefusalCode
from fedpriv.study import dump_study

RUN = b"r" * 16
IMAGES = pictures(1, 2, 3, person=("A", "ada")) + pictures(4)


@pytest.fixture
def study():
    return small_study(FULL_BATCH)


@pytest.fixture
def home(fedpriv, tmp_path, study):
    (tmp_path / "smears").mkdir()
    (tmp_path / "study.toml").write_text(dump_study(study))
    outcome = fedpriv(
        "node",
        "init",
        "--home",
        "home",
        "--name",
        "A",
        "--images",
        "smears",
        "--coordinator",
        "localhost:9092",
        "--colluders",
        0,
    )
    assert outcome.code == 0
    return open_home(tmp_path / "home")


def test_init_writes_a_home_whose_images_are_found_from_anywhere(home, tmp_path):
    assert home.config.dataset.name == "smears"
    assert home.images_path == tmp_path / "smears"
    assert home.config.policy.largest_epsilon == 8.0


def test_init_passes_every_option_on(fedpriv, tmp_path):
    (tmp_path / "x").mkdir()
    outcome = fedpriv(
        *(
            "node",
            "init",
            "--home",
            "home",
            "--name",
            "B",
            "--images",
            "x",
            "--coordinator",
            "fed.example.org:1",
        ),
        *("--dataset", "pbs", "--hospital", "B", "--split", "train", "--on-bad-image", "skip"),
        *("--smallest-cohort", 4, "--colluders", 2, "--largest-epsilon", 3, "--largest-delta", 1e-6),
    )
    assert outcome.code == 0
    config = open_home(tmp_path / "home").config
    assert (config.dataset.name, config.dataset.hospital, config.dataset.split) == ("pbs", "B", "train")
    assert config.dataset.on_bad_image == "skip"
    policy = config.policy
    assert (policy.smallest_cohort, policy.colluders) == (4, 2)
    assert (policy.largest_epsilon, policy.largest_delta) == (3.0, 1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--images", "none"], "none: no such folder of images"),
        (["--name", "a b"], "'a b' is not a name"),
        (["--coordinator", "nowhere"], "coordinator = 'nowhere' is no HOST:PORT"),
        (["--smallest-cohort", "1"], "smallest_cohort: expected `int` >= 2"),
        (["--on-bad-image", "eat"], "on-bad-image"),
    ],
)
def test_init_refuses_and_leaves_nothing(fedpriv, tmp_path, change, message):
    (tmp_path / "smears").mkdir()
    options = {"--name": "A", "--images": "smears", "--coordinator": "localhost:1"} | dict([change])
    outcome = fedpriv("node", "init", "--home", "home", *(word for pair in options.items() for word in pair))
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "home").exists()


def test_approving_says_what_it_may_cost(fedpriv, home, study):
    outcome = fedpriv("node", "approve", "study.toml", "--home", "home")
    assert outcome.code == 0
    assert study.digest.hex() in outcome.out
    assert "it may cost smears epsilon 8 at delta 1e-05 per image, over 4 rounds" in outcome.out
    assert fedpriv("node", "approve", "study.toml", "--home", "home").code == 2
    assert fedpriv("node", "approve", "study.toml", "--home", "home", "--again").code == 0


def test_a_refusal_by_policy_names_the_rule_and_exits_with_1(fedpriv, home, tmp_path):
    (tmp_path / "dear.toml").write_text(
        dump_study(small_study(FULL_BATCH, ("epsilon = 8.0", "epsilon = 9.0")))
    )
    outcome = fedpriv("node", "approve", "dear.toml", "--home", "home")
    assert outcome.code == 1
    assert outcome.err == "error: policy largest_epsilon is 8; the study's is 9\n"


def test_approving_while_the_node_runs_is_refused(fedpriv, home):
    with home.open_journal():
        outcome = fedpriv("node", "approve", "study.toml", "--home", "home")
        assert outcome.code == 2
        assert "another process is writing the journal" in outcome.err
        assert fedpriv("node", "status", "--home", "home", "--json").json["running"] is True


def test_status_of_a_new_home_and_of_one_with_a_history(fedpriv, home, study):
    new = fedpriv("node", "status", "--home", "home")
    assert "A  registered: no roster is pinned yet" in new.out
    assert "calls     localhost:9092" in new.out
    assert "none pinned yet" in new.out
    fedpriv("node", "approve", "study.toml", "--home", "home")
    with home.open_journal() as journal:
        journal.append(Close(RUN, 1, b"receipt"))
        journal.append(Refuse(RUN, 2, 0, RefusalCode.POLICY, "policy noise allows distributed"))
    text = fedpriv("node", "status", "--home", "home").out
    assert f"approved  small  {study.digest.hex()[:16]}" in text
    assert "dataset   smears, never charged" in text
    assert "journal   3 rows, all verify; 1 rounds closed, 1 refusals" in text
    assert "refused   policy noise allows distributed" in text
    shown = fedpriv("node", "status", "--home", "home", "--json").json
    assert shown["approved"] == {study.digest.hex(): "small"}
    assert (shown["running"], shown["roster"], shown["refusals"], shown["journal_rows"]) == (
        False,
        None,
        1,
        3,
    )


def test_the_budget_shows_what_was_spent_and_what_is_left(fedpriv, home, study):
    fedpriv("node", "approve", "study.toml", "--home", "home")
    with home.open_journal() as journal:
        for number in (1, 2, 3):
            charge(home, journal, study, number, IMAGES)
    text = fedpriv("node", "budget", "--home", "home").out
    shown = fedpriv("node", "budget", "--home", "home", "--json").json
    assert f"epsilon {shown['epsilon']:.4g} of 8" in text
    assert "at delta 1e-05 per image, composed over 3 charged rounds" in text
    assert "small  3 of 4 approved rounds charged" in text
    (line,) = shown["studies"]
    assert (line["rounds_charged"], line["rounds_approved"]) == (3, 4)
    assert line["rounds_that_fit"] >= 1
    assert "bound to 4 images; those that are added share this budget" in text
    assert "smears, charged for 4 images" in fedpriv("node", "status", "--home", "home").out
    assert shown["images_bound"] == 4


def test_the_budget_has_its_course_and_its_curve(fedpriv, home, study):
    fedpriv("node", "approve", "study.toml", "--home", "home")
    assert fedpriv("node", "budget", "--home", "home", "--json").json["course"] == []
    with home.open_journal() as journal:
        for number in (1, 2, 3):
            charge(home, journal, study, number, IMAGES)
    shown = fedpriv("node", "budget", "--home", "home", "--json").json
    assert [point["rounds"] for point in shown["course"]] == [1, 2, 3]
    assert shown["course"][-1]["epsilon"] == shown["epsilon"]
    assert (shown["curve"][0][0], len(shown["curve"])) == (0, 101)
    text = fedpriv("node", "budget", "--home", "home").out.splitlines()
    start = text.index("epsilon over charged rounds (of 8):")
    bars = [line.count("#") for line in text[start + 1 : start + 4]]
    assert bars == sorted(bars)
    assert bars[-1] == round(40 * shown["epsilon"] / 8)


def test_the_patient_with_most_images_is_told_at_home_and_nowhere_else(fedpriv, home, study):
    fedpriv("node", "approve", "study.toml", "--home", "home")
    with home.open_journal() as journal:
        charge(home, journal, study, 1, IMAGES)
    shown = fedpriv("node", "budget", "--home", "home", "--json").json
    expected = composed_epsilon([study.cost_of(1)], 1e-5, group_size=3).pld
    assert shown["patient_with_most_images"] == {"images": 3, "epsilon": expected}
    text = fedpriv("node", "budget", "--home", "home").out
    assert f"for the patient with most images here, all 3 of them together: epsilon {expected:.4g}" in text
    assert b"patient_with" not in (home.folder / "journal.sqlite").read_bytes()


def test_a_new_name_shows_what_was_charged_under_others(fedpriv, home, study):
    fedpriv("node", "approve", "study.toml", "--home", "home")
    with home.open_journal() as journal:
        charge(home, journal, study, 1, IMAGES)
    path = home.folder / "node.toml"
    path.write_text(path.read_text().replace('name = "smears"', 'name = "new"'))
    assert "cannot be charged again: smears\n" in fedpriv("node", "budget", "--home", "home").out
    shown = fedpriv("node", "budget", "--home", "home", "--json").json
    assert (shown["dataset"], shown["images_bound"], shown["other_datasets"]) == ("new", 0, ["smears"])


def test_how_many_rounds_of_a_study_would_fit_before_it_is_approved(fedpriv, home):
    (line,) = fedpriv("node", "budget", "--home", "home", "--study", "study.toml", "--json").json["studies"]
    assert (line["rounds_charged"], line["rounds_approved"], line["rounds_that_fit"]) == (0, 0, 4)
    fedpriv("node", "approve", "study.toml", "--home", "home")
    shown = fedpriv("node", "budget", "--home", "home", "--study", "study.toml", "--json").json["studies"]
    assert len(shown) == 1


def test_a_register_that_was_lost_is_one_line(fedpriv, home, study):
    fedpriv("node", "approve", "study.toml", "--home", "home")
    with home.open_journal() as journal:
        charge(home, journal, study, 1, IMAGES)
    shutil.rmtree(home.folder / "register")
    outcome = fedpriv("node", "budget", "--home", "home")
    assert outcome.code == 2
    assert "it says which images were charged" in outcome.err
    assert "newest backup" in outcome.err


def test_a_budget_without_bound_can_be_shown(fedpriv, home):
    path = home.folder / "node.toml"
    path.write_text(path.read_text().replace("largest_epsilon = 8.0", "largest_epsilon = inf"))
    assert "epsilon 0 of inf" in fedpriv("node", "budget", "--home", "home").out
    assert fedpriv("node", "budget", "--home", "home", "--json").json["largest_epsilon"] is None


def test_a_corrupt_journal_is_one_line(fedpriv, home):
    fedpriv("node", "approve", "study.toml", "--home", "home")
    (home.folder / "journal.sqlite").write_bytes(b"garbage" * 100)
    for command in ("status", "budget"):
        outcome = fedpriv("node", command, "--home", "home")
        assert outcome.code == 1
        assert outcome.err.startswith("error: home/journal.sqlite is no journal, or a damaged one")
        assert len(outcome.err.splitlines()) == 2


@pytest.mark.parametrize("command", ["approve study.toml", "status", "budget"])
def test_no_home_is_said_plainly(fedpriv, command):
    outcome = fedpriv("node", *command.split(), "--home", "none")
    assert outcome.code == 2
    assert outcome.err.startswith("error: none/node.toml: no node here\nhint: ")


@pytest.mark.parametrize("command", ["init", "approve", "status", "budget"])
def test_every_command_has_help_with_an_example(fedpriv, command):
    outcome = fedpriv("node", command, "--help")
    assert outcome.code == 0
    assert f"Example: fedpriv node {command}" in " ".join(outcome.out.split())


def test_init_without_keys_makes_them_and_the_request_that_the_operator_needs(fedpriv, home, tmp_path):
    """As after `keys new`: the request can be enrolled."""
    assert fedpriv("coordinator", "init", "--home", "operator").code == 0
    enrolled = fedpriv("keys", "enrol", "home/A.request.toml", "--federation", "demo", "--home", "operator")
    assert enrolled.code == 0
    assert fedpriv("keys", "show", "--home", "home", "--json").json["fingerprint"] in enrolled.out
