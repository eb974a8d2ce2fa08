"""``fedpriv page`` as an admin types it, each line in a process of its own."""

import json
import stat
from subprocess import CompletedProcess

import pytest
from support.page import NO_CLAIM, PASSWORD, fedpriv, tiny_run
from support.ports import free_port

from fedpriv.cli.main import exit_code_of


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(outcome, code=2):
    assert outcome.returncode == code, outcome.stderr
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), outcome.stderr
    return lines[0].removeprefix("error: ")


def test_users_are_added_listed_changed_and_removed(tmp_path):
    home = tmp_path / "home"

    def user(*words, stdin=""):
        return fedpriv("page", "user", *words, "--home", home, stdin=stdin)

    assert user("add", "ana", stdin=f"{PASSWORD}\n").returncode == 0
    assert user("add", "dan", "--operator", stdin=f"{PASSWORD}\n").returncode == 0
    listed = json.loads(user("list", "--json").stdout)
    assert listed == [{"name": "ana", "operator": False}, {"name": "dan", "operator": True}]
    assert refused(user("add", "ana", stdin=f"{PASSWORD}\n")) == "there is a user ana already"
    assert "at least 12 characters" in refused(user("add", "eva", stdin="short\n"))
    assert "too common" in refused(user("add", "eva", stdin="administrator\n"))
    assert "valid username" in refused(user("add", "e v a", stdin=f"{PASSWORD}\n"))
    assert user("password", "ana", stdin="another long sentence\n").returncode == 0
    assert refused(user("password", "eva", stdin=f"{PASSWORD}\n")) == "there is no user eva"
    assert user("remove", "ana").returncode == 0
    assert user("list").stdout == "dan  operator\n"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    assert PASSWORD.encode() not in (home / "page.sqlite").read_bytes()


@pytest.mark.parametrize(
    "options", [(), ("--behind-proxy", "--name", "smears.hospital.example")], ids=["loopback", "proxy"]
)
def test_the_checks_for_deployment_find_nothing(tmp_path, options):
    done = fedpriv("page", "check", "--home", tmp_path / "home", *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing found\n", "")


def test_the_checks_would_find_a_key_that_is_too_short(tmp_path):
    home = tmp_path / "home"
    fedpriv("page", "user", "list", "--home", home)
    (home / "signing-key").write_text("short\n")
    done = fedpriv("page", "check", "--home", home)
    assert done.returncode == 1
    assert "security.W009" in done.stderr


def test_a_key_that_others_can_read_is_not_used(tmp_path):
    home = tmp_path / "home"
    fedpriv("page", "user", "list", "--home", home)
    (home / "signing-key").chmod(0o644)
    assert "is open to other users" in refused(fedpriv("page", "user", "list", "--home", home))


def test_what_would_not_be_safe_or_cannot_work_is_refused_before_anything_is_written(
    tmp_path, run_folder, tls_files, capsys
):
    """In this process: nothing here gets as far as setting Django up."""
    certificate, key = map(str, tls_files)
    private = tiny_run(tmp_path / "unprotected", NO_CLAIM)
    before = tree(tmp_path)
    start = ("page", "start", "--home", tmp_path / "home", "--port", free_port(), "--model")
    for options, message, code in (
        ((run_folder, "--host", "0.0.0.0"), "unencrypted", 2),
        ((run_folder, "--host", "::"), "unencrypted", 2),
        ((run_folder, "--cert", certificate), "go together", 2),
        ((run_folder, "--cert", key, "--key", certificate), "cannot be used", 2),
        ((run_folder, "--host", "203.0.113.1", "--behind-proxy"), "cannot listen", 2),
        ((tmp_path / "nowhere",), "neither a model folder nor a run", 2),
        ((run_folder, "--database", "nonsense"), "the database's URL is none", 2),
        ((run_folder, "--database", "postgresql://page:hunter2@db/page"), "password on the command line", 2),
        ((run_folder, "--cache", "redis://:hunter2@cache/0"), "password on the command line", 2),
        ((private,), "states no epsilon", 1),
    ):
        returned = exit_code_of([str(word) for word in (*start, *options)])
        said = refused(CompletedProcess((), returned, *capsys.readouterr()), code)
        assert message in said
        assert "hunter2" not in said
        assert tree(tmp_path) == before


def test_a_url_with_a_password_may_come_from_the_environment_and_is_not_repeated(tmp_path):
    url = "postgresql://page:hunter2@127.0.0.1:1/page"
    done = fedpriv("page", "user", "list", "--home", tmp_path / "home", FEDPRIV_PAGE_DATABASE=url)
    assert "the database cannot be used" in refused(done)
    assert "hunter2" not in done.stderr


def test_a_page_that_is_not_there_is_not_well(capsys):
    port = free_port()
    for options in ((), ("--tls",)):
        returned = exit_code_of(["page", "status", "--port", str(port), *options])
        said = refused(CompletedProcess((), returned, *capsys.readouterr()), 1)
        assert said == f"the page does not answer on 127.0.0.1:{port}"
