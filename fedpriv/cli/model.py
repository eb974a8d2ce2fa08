"""``fedpriv model``: what a trained model knows, says and cost. MODEL is a run or a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli import model_card
from fedpriv.cli.evaluation import SplitName, evaluation_of
from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json

if TYPE_CHECKING:
    from fedpriv.model.evaluate import Evaluation
    from fedpriv.model.folder import Card

app = typer.Typer(help="Evaluate, use and inspect a trained model.", no_args_is_help=True)
app.command("card", epilog=example("fedpriv model card out/run --images out/smears"))(model_card.card)

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A run, or a model folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command(epilog=example("fedpriv model evaluate runs/demo --images smears --split test"))
def evaluate(
    model: ModelPath,
    images: Annotated[
        Path, typer.Option("--images", help="A folder of class folders, or with a manifest.csv.")
    ],
    split: Annotated[SplitName, typer.Option("--split", help="Images of this split of the manifest.")] = (
        SplitName.ALL
    ),
    as_json: AsJson = False,
) -> None:
    """Compare a model's answers with labelled images."""
    result = evaluation_of(model, images, split)
    if as_json:
        echo_json(result)
    else:
        _print_evaluation(result)


@app.command(epilog=example("fedpriv model predict runs/demo smear-1.jpg smear-2.jpg"))
def predict(
    model: ModelPath,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Smears to look at.")],
    as_json: AsJson = False,
) -> None:
    """Say what a model sees in images. Not a diagnosis."""
    import numpy as np

    from fedpriv.model import evaluate as evaluation
    from fedpriv.model.folder import find_model_folder, load_model
    from fedpriv.model.network import restore
    from fedpriv.smears.decode import decode

    saved = load_model(find_model_folder(model))
    pixels = np.stack([decode(path, saved.card.image_size) for path in images])
    answers = [
        {name: float(probability) for name, probability in zip(saved.card.classes, row, strict=True)}
        for row in evaluation.predict(restore(saved), pixels)
    ]
    if as_json:
        echo_json({str(path): answer for path, answer in zip(images, answers, strict=True)})
        return
    for path, answer in zip(images, answers, strict=True):
        ranked = sorted(answer.items(), key=lambda item: -item[1])
        typer.echo(f"{path}: " + ", ".join(f"{name} {probability:.1%}" for name, probability in ranked))


@app.command(epilog=example("fedpriv model show runs/demo"))
def show(model: ModelPath, as_json: AsJson = False) -> None:
    """Show a model's card: its study, its size, its cost in privacy."""
    from fedpriv.model.folder import find_model_folder, load_model

    card = load_model(find_model_folder(model)).card
    if as_json:
        echo_json(card)
    else:
        _print_card(card)


def _print_evaluation(result: Evaluation) -> None:
    typer.echo(f"images             {result.images}")
    typer.echo(f"accuracy           {result.accuracy:.1%}")
    typer.echo(f"macro F1           {result.macro_f1:.3f}")
    typer.echo(f"calibration error  {result.calibration_error:.3f}")
    width = max(len(figures.name) for figures in result.classes)
    typer.echo(f"\n{'class':{width}}  images  sensitivity  specificity  taken for")
    for figures, row in zip(result.classes, result.confusion, strict=True):
        taken_for = ", ".join(
            f"{other.name} {count}" for other, count in zip(result.classes, row, strict=True) if count
        )
        typer.echo(
            f"{figures.name:{width}}  {figures.images:6}  {_percent(figures.sensitivity):>11}"
            f"  {_percent(figures.specificity):>11}  {taken_for}"
        )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _print_card(card: Card) -> None:
    claim = card.privacy
    typer.echo(f"study       {card.study} (sha256 {card.study_digest})")
    typer.echo(f"network     {card.network}, {card.parameters} parameters (sha256 {card.model_digest})")
    typer.echo(f"images      {card.image_size} x {card.image_size}, classes {', '.join(card.classes)}")
    typer.echo(f"rounds      {card.rounds}")
    if claim.epsilon is None:
        typer.echo(f"privacy     none is claimed (noise: {claim.noise})")
        return
    typer.echo(
        f"privacy     epsilon {claim.epsilon:.2f} at delta {claim.delta:g} for each {claim.unit}, "
        f"noise: {claim.noise}"
    )
    if claim.candidate_success is not None:
        typer.echo(
            f"            the right one of 100 candidates is picked at most {claim.candidate_success:.1%} "
            "of the time (guessing: 1%)"
        )
