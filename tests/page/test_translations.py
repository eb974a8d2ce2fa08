"""Every word of the page is in Romanian, and what is compiled is what was translated."""

import ast
import re
from pathlib import Path
from string import Formatter

import polib
import pytest
from django.utils.translation.template import templatize

import fedpriv.page

ROOT = Path(fedpriv.page.__file__).parent
FILE = ROOT / "locale" / "ro" / "LC_MESSAGES" / "django.po"
CALL = re.compile(r"n?gettext\((u?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))")
FUNCTIONS = {"_", "gettext", "ngettext"}


def words_of(path):
    """What the template or module gives to translators."""
    text = path.read_text("utf-8")
    if path.suffix == ".html":
        return {ast.literal_eval(found) for found in CALL.findall(templatize(text))}
    return {
        call.args[0].value
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", None) in FUNCTIONS
        and isinstance(call.args[0], ast.Constant)
    }


@pytest.fixture(scope="module")
def catalogue():
    return polib.pofile(str(FILE))


def test_every_word_is_translated_and_none_is_left_over(catalogue):
    used = set().union(*(words_of(path) for path in (*ROOT.rglob("*.html"), *ROOT.rglob("*.py"))))
    assert len(used) > 150
    assert {entry.msgid for entry in catalogue} == used
    for entry in catalogue:
        assert entry.translated(), entry.msgid
        assert not entry.fuzzy, entry.msgid


def test_translations_fill_in_the_same_values(catalogue):
    value = re.compile(r"%\(\w+\)s|\{\w\}|%%")
    for entry in catalogue:
        for translated in (entry.msgstr_plural or {0: entry.msgstr}).values():
            assert sorted(value.findall(translated)) == sorted(value.findall(entry.msgid)), entry.msgid
            assert list(Formatter().parse(translated)), entry.msgid


def test_the_compiled_file_is_that_of_the_translations(catalogue):
    assert FILE.with_suffix(".mo").read_bytes() == catalogue.to_binary(), "run `make translations`"
