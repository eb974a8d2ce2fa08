"""The ``fedpriv`` command: its nouns, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import click
import typer.core

from fedpriv import __version__
from fedpriv.cli import audit, coordinator, data, demo, keys, model, node, page, rounds, study
from fedpriv.cli.examples import example
from fedpriv.cli.outcome import FAILED, INTERRUPTED, USAGE, Outcome, Told, outcome_of

app = typer.Typer(
    name="fedpriv",
    help="Train one network among hospitals; no patient's data leaves any of them.",
    epilog="Start here: fedpriv demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", epilog=example("fedpriv demo --hospitals 5 --rounds 4 --out out/demo"))(demo.demo)
app.add_typer(keys.app, name="keys")
app.add_typer(node.app, name="node")
app.add_typer(coordinator.app, name="coordinator")
app.command("round", epilog=example("fedpriv round --home coordinator --study study.toml --count 3"))(
    rounds.run_rounds
)
app.add_typer(study.app, name="study")
app.add_typer(model.app, name="model")
app.add_typer(data.app, name="data")
app.add_typer(audit.app, name="audit")
app.add_typer(page.app, name="page")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"fedpriv {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train one network among hospitals; no patient's data leaves any of them."""


def run() -> None:
    """Run the command line and leave with its exit code.

    SIGTERM ends any command as Ctrl-C does: as process 1 of a container it would be ignored otherwise.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(exit_code_of(sys.argv[1:]))


def exit_code_of(arguments: list[str]) -> int:
    """Run one command line; print an error as one line and a hint; return the exit code."""
    typer.core.HAS_RICH = False  # plain help: commands to copy stay on one line, and it takes half the time
    try:
        _refuse_empty(arguments)
        ended = app(args=arguments, prog_name="fedpriv", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        return _tell(Outcome(_in_our_manner(error), _help_of(error), USAGE))
    except click.ClickException as error:
        return _tell(Outcome(_in_our_manner(error), None, error.exit_code))
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except Told as told:
        return told.exit_code
    except (Exception, KeyboardInterrupt) as error:
        outcome = outcome_of(error)
        if outcome is None:
            raise
        return _tell(outcome)
    if ended == INTERRUPTED:  # what typer makes of Ctrl-C
        return _tell(Outcome("interrupted", None, INTERRUPTED))
    return ended if isinstance(ended, int) else 0


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse an empty word: an empty path would quietly mean the current folder."""
    for argument in arguments:
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            option = argument.removesuffix("=") or "an argument"
            raise click.UsageError(f"{option} is empty: is a variable of your shell unset?")


def _in_our_manner(error: click.ClickException) -> str:
    """Click's message in lower case and without a full stop, like all others."""
    message = error.format_message().removesuffix(".")
    return message[:1].lower() + message[1:]


def _help_of(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "fedpriv"
    return f"`{path} --help` shows how"


def _tell(outcome: Outcome) -> int:
    typer.echo(f"error: {outcome.message}", err=True)
    if outcome.hint:
        typer.echo(f"hint: {outcome.hint}", err=True)
    return outcome.exit_code
