import pytest

from fedpriv.all_or_nothing import all_or_nothing


class Stop(BaseException):
    """As Ctrl-C: no Exception."""


def make(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")


def fail_in(paths, work):
    """Do ``work`` inside, then be interrupted."""
    try:
        with all_or_nothing(*paths):
            work()
            raise Stop
    except Stop:
        return
    pytest.fail("the interruption was swallowed")


def make_and_fail(*paths):
    fail_in(paths, lambda: make(*paths))


def test_what_was_made_goes_with_the_folders_above_it(tmp_path):
    make_and_fail(tmp_path / "a" / "b" / "file", tmp_path / "a" / "c", tmp_path / "other")
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_stays(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("mine")
    make_and_fail(tmp_path / "a" / "file")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "mine"]


def test_a_file_that_was_there_is_never_removed(tmp_path):
    (tmp_path / "file").write_text("mine")
    fail_in([tmp_path / "file"], lambda: None)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_was_never_made_is_no_second_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    fail_in([tmp_path / "a", tmp_path / "file" / "below"], lambda: None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_is_removed_and_not_followed(tmp_path):
    (tmp_path / "far").mkdir()
    fail_in([tmp_path / "link"], lambda: (tmp_path / "link").symlink_to(tmp_path / "far"))
    assert [path.name for path in tmp_path.iterdir()] == ["far"]


def test_success_keeps_everything(tmp_path):
    with all_or_nothing(tmp_path / "a"):
        (tmp_path / "a").write_text("whole")
    assert (tmp_path / "a").read_text() == "whole"
