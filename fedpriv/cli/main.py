"""The ``fedpriv`` command: its nouns, and the one place where an error becomes a line and an exit code.

Exit codes: 0 done; 1 the answer is no (refused, failed, not verified); 2 the input is wrong;
130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Annotated

import click
import typer.core

from fedpriv import __version__
from fedpriv.cli import audit, coordinator, data, demo, keys, model, node, page, rounds, study
from fedpriv.cli.examples import example
from fedpriv.errors import FedprivError

FAILED = 1
USAGE = 2
INTERRUPTED = 130

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
    """Run the command line and leave with its exit code."""
    sys.exit(exit_code_of(sys.argv[1:]))


def exit_code_of(arguments: list[str]) -> int:
    """Run one command line; print an error as one line and a hint; return the exit code."""
    typer.core.HAS_RICH = False  # plain help: commands to copy stay on one line, and it takes half the time
    try:
        _refuse_empty(arguments)
        outcome = app(args=arguments, prog_name="fedpriv", standalone_mode=False)
    except FedprivError as error:
        return _tell(error.message, error.hint, error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        return _tell(_in_our_manner(error), _help_of(error), USAGE)
    except click.ClickException as error:
        return _tell(_in_our_manner(error), None, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _tell("interrupted", None, INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except OSError as error:
        return _tell(_of_the_system(error), "is the folder yours, and the disk not full?", FAILED)
    if outcome == INTERRUPTED:  # what typer makes of Ctrl-C
        return _tell("interrupted", None, INTERRUPTED)
    return outcome if isinstance(outcome, int) else 0


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


def _of_the_system(error: OSError) -> str:
    """What the operating system refused, and where."""
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _help_of(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "fedpriv"
    return f"`{path} --help` shows how"


def _tell(message: str, hint: str | None, code: int) -> int:
    typer.echo(f"error: {message}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
    return code
