"""``fedpriv study``: write, plan and read what a federation agrees on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json

app = typer.Typer(help="The study: what the hospitals agree on.", no_args_is_help=True)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

_TEMPLATE = """\
[study]
name = {name}
classes = [{classes}]

[hospitals]               # name = declared units: public constants; weights come from them
{hospitals}

[images]                  # fixed preprocessing; nothing is computed from data
size = 64

[model]
name = "smear-cnn"

[privacy]                 # `fedpriv study plan` writes noise_multiplier here
unit = "image"            # or "patient", with images_per_patient
noise = "local"           # or "distributed": a round is then one step of the whole federation
epsilon = 8.0             # over all rounds
delta = {delta}
l2_clip_norm = 1.0

[training]
rounds = 10
local_steps = 8           # of each hospital in each round
sampling_probability = 1.0  # of each unit in each step
learning_rate = 3.0
momentum = 0.9
update_range = 1.0        # largest absolute coordinate of an update

[secure_aggregation]
smallest_cohort = {smallest_cohort}
colluders = {colluders}             # so many hospitals may be in league with the coordinator
dropouts = {dropouts}              # so many may be lost in a round: at most n - t, 2 t > n + colluders. Three
                          # hospitals with one colluder may lose none, from four on one
bits = 16
"""


@app.command(epilog=example("fedpriv study new demo --hospital A=240 --hospital B=240 --hospital C=240"))
def new(
    name: Annotated[str, typer.Argument(help="The study's name.")],
    hospital: Annotated[
        list[str], typer.Option(metavar="NAME=UNITS", help="A hospital and the units it declares.")
    ],
    classes: Annotated[str, typer.Option(help="Class names, separated by commas.")] = "Benign,Early,Pre,Pro",
    out: Annotated[Path | None, typer.Option(help="The file to write.", show_default="NAME.toml")] = None,
) -> None:
    """Write a study file to start from, with every key and what it means."""
    from fedpriv.errors import StudyError
    from fedpriv.toml_files import write_new_file

    units: dict[str, int] = {}
    for who, count in map(_name_and_units, hospital):
        if who in units:
            raise typer.BadParameter(f"{who} is named twice", param_hint="--hospital")
        units[who] = count
    path = out or Path(f"{name}.toml")
    labels = tuple(label.strip() for label in classes.split(","))
    text = draft(name, units, labels)
    write_new_file(path, text, StudyError)
    typer.echo(f"wrote {path}; next: fedpriv study plan {path}")
    typer.echo(_tolerates(len(units)))


def draft(name: str, units: dict[str, int], classes: tuple[str, ...]) -> str:
    """A study file to start from for hospitals with these declared ``units``; StudyError if they cannot."""
    from fedpriv.identity.keys import check_name
    from fedpriv.study import parse_study

    colluders, dropouts = _tolerated(len(units))
    text = _TEMPLATE.format(
        name=_quoted(name),
        classes=", ".join(map(_quoted, classes)),
        hospitals="\n".join(f"{check_name(who)} = {count}" for who, count in sorted(units.items())),
        delta=min(1e-5, 0.1 / max(1, sum(units.values()))),
        colluders=colluders,
        dropouts=dropouts,
        smallest_cohort=max(2, len(units) - dropouts),
    )
    parse_study(text, f"the new study {name}")
    return text


@app.command(epilog=example("fedpriv study plan configs/all-pbs-local.toml"))
def plan(
    study_file: StudyFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compute and show only; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compute the noise that the study's epsilon needs; write it there.

    Epsilon is for all rounds together. --json has the whole curve of epsilon and delta.
    """
    from fedpriv import plan as plans
    from fedpriv.cli.chart import chart
    from fedpriv.errors import StudyError
    from fedpriv.study import load_study, write_noise_multiplier
    from fedpriv.toml_files import replace_file

    study = load_study(study_file)
    _ = study.network  # one that nobody has installed needs no plan
    planned = plans.plan(study)
    if not dry_run:
        text = study_file.read_text(encoding="utf-8")
        text = write_noise_multiplier(text, str(study_file), planned.noise_multiplier)
        replace_file(study_file, text, StudyError)
    if as_json:
        from dataclasses import asdict

        digest = study.with_noise_multiplier(planned.noise_multiplier).digest.hex()
        echo_json({"study_digest": digest, **asdict(planned)})
        return
    typer.echo(
        f"noise_multiplier = {planned.noise_multiplier}{'' if dry_run else f', written into {study_file}'}"
    )
    typer.echo(
        f"epsilon {planned.epsilon:.4g} (PLD; {planned.epsilon_rdp:.4g} by RDP) at delta {planned.delta:g} "
        f"per {study.privacy.unit}, over {study.steps} steps"
    )
    typer.echo(plans.candidates_line(study.privacy.unit, planned.candidate_success))
    for group in planned.groups:
        typer.echo(f"for a patient with {group.images} images, all together: epsilon {group.epsilon:.4g}")
    for coalition in planned.coalitions:
        typer.echo(f"against {coalition.colluders} colluding hospitals: epsilon {coalition.epsilon:.4g}")
    typer.echo(f"\nepsilon over rounds (of {study.privacy.epsilon:g}):")
    for line in chart(planned.course, study.privacy.epsilon):
        typer.echo(line)
    typer.echo("\nunder the same noise:\n  rounds  sampling probability  epsilon")
    for other in planned.alternatives:
        typer.echo(f"  {other.rounds:6}  {other.sampling_probability:20g}  {other.epsilon:7.4g}")
    typer.echo("\nnext: every admin runs `fedpriv node approve` on this file")


@app.command(epilog=example("fedpriv study show configs/all-pbs-local.toml --json"))
def show(study_file: StudyFile, as_json: AsJson = False) -> None:
    """Show a study, its digest and its threshold, or what is wrong."""
    import msgspec

    from fedpriv.study import dump_study, load_study

    study = load_study(study_file)
    if as_json:
        summary = {
            **msgspec.to_builtins(study),
            "digest": study.digest.hex(),
            "threshold": study.threshold,
            "units": study.units,
            "steps": study.steps,
        }
        echo_json(summary)
        return
    typer.echo(dump_study(study))
    rules = study.secure_aggregation
    typer.echo(f"digest     {study.digest.hex()}")
    typer.echo(
        f"threshold  {study.threshold} of {len(study.hospitals)} hospitals; up to {rules.dropouts} may drop "
        f"out, up to {rules.colluders} may collude with the coordinator"
    )
    if study.privacy.noise_multiplier is None:
        typer.echo("not planned yet: fedpriv study plan")


def _tolerates(hospitals: int) -> str:
    """What a draft for so many hospitals withstands, in words."""
    colluders, dropouts = _tolerated(hospitals)
    if not colluders:
        return "two hospitals cannot hide from each other: the sum less one's own update is the other's"
    lost = (
        "one may be lost in a round"
        if dropouts
        else "none may be lost in a round, which then fails (from four hospitals on, one may)"
    )
    return f"one of the {hospitals} hospitals may be in league with the coordinator; {lost}"


def _tolerated(hospitals: int) -> tuple[int, int]:
    """Colluders and dropouts of a draft: one of each, as far as so many hospitals allow, colluders first.

    Without a tolerated colluder, one bribed hospital and the coordinator open the update of any other.
    """
    colluders = min(1, max(0, hospitals - 2))
    threshold = (hospitals + colluders) // 2 + 1
    return colluders, min(1, max(0, hospitals - threshold))


def _quoted(text: str) -> str:
    """``text`` as a TOML string: JSON's are among them."""
    return json.dumps(text, ensure_ascii=False)


def _name_and_units(text: str) -> tuple[str, int]:
    name, _, units = text.partition("=")
    if not units.isdecimal():
        raise typer.BadParameter(f"{text!r} is not NAME=UNITS", param_hint="--hospital")
    return name, int(units)
