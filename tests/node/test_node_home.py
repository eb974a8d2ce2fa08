import pytest
from msgspec.structs import replace
from support.rosters import pin_here, sealed
from support.studies import ENOUGH_NOISE, TEXT, small_study

from fedpriv.errors import HomeError, IdentityError, PolicyRefused, StudyError
from fedpriv.identity.keys import new_identity, save
from fedpriv.identity.roster import Member, Operator, Roster, dump_roster
from fedpriv.identity.tls import new_authority
from fedpriv.node.budget import approvals_of
from fedpriv.node.home import Config, Dataset, init_home, open_home
from fedpriv.node.policy import Policy
from fedpriv.study import dump_study, write_noise_multiplier


@pytest.fixture
def config(tmp_path):
    (tmp_path / "images").mkdir()
    return Config(
        name="A",
        coordinator="localhost:9092",
        dataset=Dataset(name="smears", images=str(tmp_path / "images"), hospital="A", split="train"),
        policy=Policy(smallest_cohort=2, largest_epsilon=8.0, largest_delta=1e-5, colluders=0),
    )


@pytest.fixture
def home(tmp_path, config):
    return init_home(tmp_path / "home", config)


@pytest.fixture
def planned(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(write_noise_multiplier(TEXT, "x", ENOUGH_NOISE))
    return path


def test_what_was_made_is_opened(home, config):
    again = open_home(home.folder)
    assert again.config == config
    assert again.identity().name == "A"
    assert again.rows() == []
    assert again.logs_folder.is_dir()
    assert again.images_path.is_dir()


def test_an_identity_made_before_is_kept(tmp_path, config):
    identity = new_identity("A")
    save(identity, tmp_path / "home" / "identity")
    home = init_home(tmp_path / "home", config)
    assert home.identity().signing_public_key == identity.signing_public_key


def test_an_identity_of_somebody_else_is_refused(tmp_path, config):
    save(new_identity("B"), tmp_path / "home" / "identity")
    with pytest.raises(HomeError, match="identity belongs to B, not to A"):
        init_home(tmp_path / "home", config)
    assert not (tmp_path / "home" / "node.toml").exists()


def test_a_home_is_never_overwritten(home, config):
    before = home.identity().signing_public_key
    with pytest.raises(HomeError, match=r"node\.toml: there is a node here already"):
        init_home(home.folder, config)
    assert home.identity().signing_public_key == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "A b"}, HomeError, "name: 'A b' is not a name"),
        ({"coordinator": "localhost"}, HomeError, r"node\.toml: coordinator = 'localhost' is no HOST:PORT"),
        ({"coordinator": "localhost:0"}, HomeError, "no HOST:PORT with a port from 1 to 65535"),
        ({"coordinator": "localhost:70000"}, HomeError, "no HOST:PORT with a port from 1 to 65535"),
        ({"dataset": Dataset(name="a b", images="images")}, HomeError, r"\[dataset\] name: expected"),
        ({"dataset": Dataset(name="a", images="none")}, HomeError, "none: no such folder of images"),
        (
            {"dataset": Dataset(name="a", images=".", on_bad_image="eat")},
            HomeError,
            "on_bad_image: 'eat' is none of refuse, skip",
        ),
        ({"policy": Policy(smallest_cohort=1, largest_epsilon=1.0, largest_delta=0.1)}, HomeError, ">= 2"),
    ],
)
def test_a_wrong_configuration_leaves_nothing_behind(tmp_path, config, change, error, message):
    with pytest.raises(error, match=message):
        init_home(tmp_path / "home", replace(config, **change))
    assert not (tmp_path / "home").exists()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, config):
    save(new_identity("A"), tmp_path / "home" / "identity")
    (tmp_path / "home" / "logs").write_text("")
    with pytest.raises(HomeError, match="home cannot be written: File exists"):
        init_home(tmp_path / "home", config)


def test_no_home_and_a_broken_home_are_told_apart(tmp_path, home):
    with pytest.raises(HomeError, match=r"node\.toml: no node here") as error:
        open_home(tmp_path / "none")
    assert "node init" in error.value.hint
    path = home.folder / "node.toml"
    for old, new, message in [
        ("[policy]", "[polcy]", "unknown section or key: polcy"),
        ("[policy]", "[policy", "is not TOML: .*line"),
        ("largest_epsilon", "largest_epsilom", r"\[policy\] largest_epsilom: unknown key"),
        ('name = "A"', 'name = "-"', "'-' is not a name"),
    ]:
        text = path.read_text()
        path.write_text(text.replace(old, new, 1))
        with pytest.raises((HomeError, IdentityError), match=message):
            open_home(home.folder)
        path.write_text(text)


def roster_of(*identities):
    coordinator = new_identity("coordinator")
    operator = Operator("coordinator", coordinator.signing_public_key, new_authority("x").certificate_pem)
    members = tuple(Member.of(identity) for identity in identities)
    return sealed(Roster("demo", operator, members), coordinator, *identities)


def test_the_roster_must_be_pinned_and_ours(home):
    with pytest.raises(HomeError, match=r"roster\.toml: no roster yet") as error:
        home.roster([])
    assert "--pin" in error.value.hint
    home.roster_path.write_text(dump_roster(roster_of(new_identity("B"))))
    with pytest.raises(IdentityError, match="has no hospital A"):
        home.roster([])
    home.roster_path.write_text(dump_roster(roster_of(new_identity("A"))))
    with pytest.raises(HomeError, match="has another key for A than"):
        home.roster([])
    ours = roster_of(home.identity(), new_identity("B"))
    home.roster_path.write_text(dump_roster(ours))
    with pytest.raises(HomeError, match="was never pinned here"):
        home.roster(home.rows())
    pin_here(home.folder, ours)
    assert home.roster(home.rows()) == ours


def test_approval_keeps_the_study_as_it_came_and_journals_it(home, planned):
    with home.open_journal() as journal:
        study = home.approve(journal, planned)
    rows = home.rows()
    assert approvals_of(rows, study.digest) == 1
    assert home.approved_study(study.digest) == study
    assert home.approved_studies(rows) == [study]
    copy = home.approved_folder / f"{study.digest.hex()}.toml"
    assert copy.read_text() == planned.read_text()


def test_approving_twice_must_be_meant(home, planned):
    with home.open_journal() as journal:
        study = home.approve(journal, planned)
        with pytest.raises(HomeError, match="is approved already") as error:
            home.approve(journal, planned)
        assert "--again" in error.value.hint
        home.approve(journal, planned, again=True)
        assert approvals_of(journal.rows, study.digest) == 2
    assert home.approved_studies(home.rows()) == [study]


def test_what_is_refused_is_neither_kept_nor_journaled(home, tmp_path):
    cases = [
        (TEXT, StudyError, "no noise_multiplier yet"),
        (write_noise_multiplier(TEXT, "x", 0.5), PolicyRefused, "claims epsilon 8"),
        (dump_study(small_study(("epsilon = 8.0", "epsilon = 9.0"))), PolicyRefused, "largest_epsilon is 8"),
        (dump_study(small_study(("A = 100", "Z = 100"))), PolicyRefused, "not for A"),
        ("nothing", StudyError, "is not TOML"),
    ]
    with home.open_journal() as journal:
        for number, (text, error, message) in enumerate(cases):
            path = tmp_path / f"{number}.toml"
            path.write_text(text)
            with pytest.raises(error, match=message):
                home.approve(journal, path)
        assert journal.rows == ()
    assert list(home.approved_folder.iterdir()) == []


def test_an_approved_study_that_was_edited_or_lost_is_noticed(home, planned):
    with home.open_journal() as journal:
        study = home.approve(journal, planned)
    assert home.approved_study(bytes(32)) is None
    copy = home.approved_folder / f"{study.digest.hex()}.toml"
    copy.write_text(copy.read_text().replace("rounds = 4", "rounds = 5"))
    with pytest.raises(HomeError, match="was changed after it was approved"):
        home.approved_study(study.digest)
    copy.unlink()
    with pytest.raises(HomeError, match="is missing, but the journal says it was approved"):
        home.approved_studies(home.rows())
