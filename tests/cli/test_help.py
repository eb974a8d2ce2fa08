"""The whole tree of commands, as an admin reads it."""

import shlex
import subprocess
import sys
import textwrap

import click
import pytest
import typer

from fedpriv.cli.main import app, exit_code_of

ROOT = typer.main.get_command(app)
HEAVY = {"numpy", "PIL", "tensorflow", "flwr", "grpc", "rich", "django", "cryptography", "msgspec"}


def walk(command, path):
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


TREE = dict(walk(ROOT, ()))
LEAVES = {path: command for path, command in TREE.items() if not isinstance(command, click.Group)}
NOUNS = [path for path in TREE if path not in LEAVES]


def shown(capsys, path):
    capsys.readouterr()
    assert exit_code_of([*path, "--help"]) == 0
    return capsys.readouterr().out


def joined(path):
    return " ".join(path) or "fedpriv"


@pytest.mark.parametrize("path", NOUNS, ids=joined)
def test_every_command_is_listed_with_what_it_does_and_nothing_is_cut_off(capsys, path):
    _, _, listed = shown(capsys, path).partition("\nCommands:\n")
    for name in TREE[path].commands:
        (line,) = [line for line in listed.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 3
        assert line.endswith(".")
        assert not line.endswith("...")


@pytest.mark.parametrize("path", TREE, ids=joined)
def test_help_is_plain_and_fits_a_terminal(capsys, path):
    text = shown(capsys, path)
    assert text.startswith(f"Usage: {' '.join(('fedpriv', *path))} ")
    assert text.isascii()
    assert "\\[" not in text
    prose, _, _ = text.partition("Example:")
    assert all(len(line) <= 80 for line in prose.splitlines())


@pytest.mark.parametrize("path", LEAVES, ids=joined)
def test_every_option_is_explained(path):
    for option in LEAVES[path].params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.help[0].isupper(), option.help


@pytest.mark.parametrize("path", LEAVES, ids=joined)
def test_every_argument_is_explained(path):
    for argument in LEAVES[path].params:
        if isinstance(argument, click.Argument):
            assert argument.help, argument.name


def example_in(text):
    """The one command line under "Example:", as it is printed."""
    _, _, after = text.partition("\n  Example:\n")
    (line,) = textwrap.dedent(after).strip().splitlines()
    return line


@pytest.mark.parametrize("path", LEAVES, ids=joined)
def test_the_example_of_every_command_can_be_typed(capsys, path):
    line = example_in(shown(capsys, path))
    assert len(line) < 100
    words = shlex.split(line)
    assert words[: len(path) + 1] == ["fedpriv", *path]
    context = LEAVES[path].make_context(path[-1], words[len(path) + 1 :])
    assert not context.args


def test_an_example_with_an_option_that_is_none_would_be_found():
    with pytest.raises(click.NoSuchOption):
        LEAVES["study", "show"].make_context("show", ["study.toml", "--nonsense"])


def test_the_first_line_that_a_newcomer_reads_says_where_to_start(capsys):
    assert shown(capsys, ()).rstrip().endswith("Start here: fedpriv demo")


@pytest.mark.parametrize("path", NOUNS, ids=joined)
def test_a_noun_alone_shows_its_help_and_does_nothing(capsys, path):
    help_text = shown(capsys, path)
    assert exit_code_of(list(path)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == help_text


def test_help_imports_nothing_heavy():
    code = "import sys, fedpriv.cli.main as m; m.exit_code_of(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "typer" in loaded
    assert not HEAVY & loaded
