"""The coordinator's home: what it refuses to be made or opened with, and who may use it at once."""

import stat

import pytest
from support.rosters import sealed

from fedpriv.coordinator.home import CONFIG, Deadlines, Listen, init_home, neighbours, open_home
from fedpriv.errors import HomeError, IdentityError
from fedpriv.identity.enrolment import collect, new_request
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import dump_roster


def made(folder, listen=None):
    return init_home(
        folder,
        name="consortium",
        hosts=("localhost",),
        listen=listen or neighbours("127.0.0.1:9092"),
        deadlines=Deadlines(),
    )


@pytest.fixture
def home(tmp_path):
    return made(tmp_path / "home")


def edited(home, old, new):
    path = home.folder / CONFIG
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return home.folder


def test_what_was_made_can_be_opened(home):
    assert open_home(home.folder).config == home.config
    assert home.operator().name == "consortium"
    for folder in (home.identity_folder, home.tls_folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_flowers_doors_without_a_login_stay_on_loopback(home, tmp_path):
    for key in ("serverappio", "control"):
        folder = edited(home, f'{key} = "127.0.0.1:', f'{key} = "0.0.0.0:')
        with pytest.raises(HomeError, match=rf"\[listen\] {key} = '0\.0\.0\.0:\d+': Flower asks no login"):
            open_home(folder)
        edited(home, f'{key} = "0.0.0.0:', f'{key} = "127.0.0.1:')
    with pytest.raises(HomeError, match="Flower asks no login"):
        made(tmp_path / "other", Listen("0.0.0.0:9092", "127.0.0.1:9091", "10.0.0.1:9093"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "address", ["nonsense", "host:", ":9092", "host:0", "host:1", "host:65535", "host:x"]
)
def test_an_address_that_is_none_is_refused(tmp_path, address):
    with pytest.raises(HomeError, match="is no HOST:PORT"):
        made(tmp_path / "home", Listen(address, "127.0.0.1:9091", "127.0.0.1:9093"))
    assert not (tmp_path / "home").exists()


def test_a_port_used_twice_is_refused(tmp_path):
    with pytest.raises(HomeError, match="uses a port twice: 9091, 9092, 9092"):
        made(tmp_path / "home", Listen("0.0.0.0:9092", "127.0.0.1:9092", "127.0.0.1:9091"))


def test_a_second_init_changes_nothing(home):
    before = {path: path.read_bytes() for path in home.folder.rglob("*") if path.is_file()}
    with pytest.raises(HomeError, match="there is a coordinator already"):
        made(home.folder)
    assert {path: path.read_bytes() for path in home.folder.rglob("*") if path.is_file()} == before


def test_deadlines_are_checked(home):
    with pytest.raises(HomeError, match="answer_s"):
        open_home(edited(home, "answer_s = 60.0", "answer_s = 0.0"))


def test_no_home_and_no_roster_say_what_to_do(home, tmp_path):
    with pytest.raises(HomeError, match="no coordinator here"):
        open_home(tmp_path / "nowhere")
    with pytest.raises(HomeError, match="no roster yet"):
        home.roster()


def test_a_roster_of_another_coordinator_is_refused(home, tmp_path):
    other = made(tmp_path / "other")
    hospital = new_identity("A")
    request = new_request(hospital)
    home.roster_path.write_text(dump_roster(collect("test", home.operator(), [request])))
    with pytest.raises(IdentityError, match="is not countersigned by A, consortium: it is not in force"):
        home.roster()
    theirs = sealed(collect("test", other.operator(), [request]), other.identity(), hospital)
    home.roster_path.write_text(dump_roster(theirs))
    with pytest.raises(HomeError, match="names another coordinator, consortium"):
        home.roster()
    ours = sealed(collect("test", home.operator(), [request]), home.identity(), hospital)
    home.roster_path.write_text(dump_roster(ours))
    assert home.roster().names == ("A",)


def test_one_command_runs_rounds_at_a_time(home):
    with (
        home.one_command(),
        pytest.raises(HomeError, match="another command is running rounds"),
        open_home(home.folder).one_command(),
    ):
        raise AssertionError("two commands hold one home")
    with home.one_command():
        assert (home.folder / "rounds.lock").exists()
