"""The one way in which a TOML file becomes a frozen, checked structure, and back.

Every key is declared; an unknown key, a missing one, a wrong type or a value out of range is refused with
the file, the section and the key in the message. Wrong TOML is refused with its line.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import tomli_w

if TYPE_CHECKING:
    from fedpriv.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T", bound=msgspec.Struct)

_PLACE = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>.*)`)?", re.DOTALL)
_ENUM = re.compile(r"Invalid enum value (?P<value>.*)")
_FIELD = re.compile(r"Object (?P<what>contains unknown|missing required) field `(?P<key>.*)`")


def read_toml(path: Path, kind: type[T], error: type[InputError]) -> T:
    """The file ``path`` as a ``kind``; raises ``error`` naming the file and the place in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "not UTF-8 text"
        raise error(f"{path} cannot be read: {reason}") from cause
    return parse_toml(text, str(path), kind, error)


def parse_toml(text: str, source: str, kind: type[T], error: type[InputError]) -> T:
    """``text`` as a ``kind``; ``source`` is the name of the file in messages."""
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except tomllib.TOMLDecodeError as cause:
        raise error(f"{source} is not TOML: {_lower_first(str(cause))}") from cause
    except RecursionError as cause:
        raise error(f"{source} is not TOML of ours: it nests too deeply") from cause
    except msgspec.ValidationError as cause:
        raise error(f"{source}: {_in_words(str(cause), kind)}") from cause


def dump_toml(value: msgspec.Struct) -> str:
    """``value`` as TOML text; keys that are None are left out."""
    return tomli_w.dumps(_without_none(msgspec.to_builtins(value)), multiline_strings=True)


def write_new_file(path: Path, text: str, error: type[InputError]) -> None:
    """Write ``text`` to the new file ``path`` in one step; raises ``error`` if there is one already."""
    try:
        with _draft(path, text) as draft:
            os.link(draft, path)  # unlike a rename, a link never replaces what is there
    except FileExistsError as cause:
        raise error(f"{path} exists already", hint="choose another name, or move it away") from cause
    except OSError as cause:
        raise error(f"{path} cannot be written: {cause.strerror}") from cause


def replace_file(path: Path, content: str | bytes, error: type[InputError]) -> None:
    """Write ``content`` in place of the file ``path`` in one step; raises ``error`` if it cannot."""
    try:
        with _draft(path, content) as draft:
            Path(draft).replace(path)
    except OSError as cause:
        raise error(f"{path} cannot be written: {cause.strerror}") from cause


@contextlib.contextmanager
def _draft(path: Path, content: str | bytes) -> Iterator[str]:
    """A synced file beside ``path`` that holds ``content``, gone at the end."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        Path(draft).unlink(missing_ok=True)


def _in_words(message: str, kind: type[msgspec.Struct]) -> str:
    """The library's message with the place in front: ``[training] rounds: expected `int` >= 1``."""
    place = _PLACE.fullmatch(message)
    what, path = (place["what"], place["path"] or "") if place else (message, "")
    if value := _ENUM.fullmatch(what):
        what = f"{value['value']} is none of {', '.join(_choices(kind, path))}"
    section, _, key = path.removesuffix("[...]").rpartition(".")
    if field := _FIELD.fullmatch(what):
        section, key = path, field["key"]
        what = "unknown" if field["what"].startswith("contains") else "missing"
        if not section:
            return f"{what} section or key: {key}"
        what = f"{what} key"
    where = f"[{section}] {key}" if section else key
    return f"{where}: {_lower_first(what)}" if where else _lower_first(what)


def _choices(kind: type[msgspec.Struct], path: str) -> list[str]:
    """The values that the ``Literal`` at ``path`` allows."""
    hint: object = kind
    for name in re.findall(r"[a-z_]+", path):
        hint = get_type_hints(hint)[name]
    while get_origin(hint) is not Literal:
        hint = get_args(hint)[0]
    return [str(value) for value in get_args(hint)]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _without_none(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("only a table can be written as a TOML file")
    return {
        key: _without_none(item) if isinstance(item, dict) else item
        for key, item in value.items()
        if item is not None
    }
