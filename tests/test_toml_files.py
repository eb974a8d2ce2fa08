import os
from typing import Annotated

import msgspec
import pytest

from fedpriv.errors import HomeError, StudyError
from fedpriv.toml_files import dump_toml, parse_toml, read_toml, replace_file, write_new_file


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=1)]
    note: str | None = None


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    inner: Inner
    table: dict[str, int] = {}


def test_what_is_dumped_is_parsed_without_absent_keys():
    value = Outer("x", Inner(1), {"a": 1})
    text = dump_toml(value)
    assert "note" not in text
    assert parse_toml(text, "f", Outer, StudyError) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "f.toml is not TOML: invalid value (at end of document)"),
        ("name = 'a'\nname = 2\n", "f.toml is not TOML: cannot overwrite a value (at line 2, column 9)"),
        ("name = 'a'", "f.toml: missing section or key: inner"),
        ("name = 'a'\nx = 1\n[inner]\ncount = 1", "f.toml: unknown section or key: x"),
        ("name = 'a'\n[inner]", "f.toml: [inner] count: missing key"),
        ("name = 'a'\n[inner]\ncount = 1\nx = 1", "f.toml: [inner] x: unknown key"),
        ("name = 'a'\n[inner]\ncount = 0", "f.toml: [inner] count: expected `int` >= 1"),
        ("name = 1\n[inner]\ncount = 1", "f.toml: name: expected `str`, got `int`"),
        ("name = 'a'\n[inner]\ncount = 1\n[table]\na = 'b'", "f.toml: table: expected `int`, got `str`"),
    ],
)
def test_a_mistake_is_named_with_its_place(text, message):
    with pytest.raises(HomeError) as error:
        parse_toml(text, "f.toml", Outer, HomeError)
    assert error.value.message == message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"none\.toml cannot be read: No such file or directory"):
        read_toml(tmp_path / "none.toml", Outer, StudyError)
    (tmp_path / "latin").write_bytes(b'name = "\xe4"')
    with pytest.raises(StudyError, match="latin cannot be read: not UTF-8 text"):
        read_toml(tmp_path / "latin", Outer, StudyError)


def test_a_new_file_never_replaces_another(tmp_path):
    write_new_file(tmp_path / "f", "one", HomeError)
    with pytest.raises(HomeError, match="f exists already"):
        write_new_file(tmp_path / "f", "two", HomeError)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "one"


def test_replacing_is_one_step(tmp_path, monkeypatch):
    write_new_file(tmp_path / "f", "one", HomeError)
    replace_file(tmp_path / "f", "two", HomeError)
    assert (tmp_path / "f").read_text() == "two"

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (replace_file, write_new_file):
        with pytest.raises(HomeError, match="cannot be written: No space left on device"):
            write(tmp_path / "f", "three", HomeError)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "two"


def test_only_a_table_is_a_file():
    with pytest.raises(TypeError):
        dump_toml([1])
