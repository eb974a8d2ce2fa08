"""``fedpriv model card``: a run's bundle and labelled images to the card that people read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.evaluation import evaluation_on
from fedpriv.cli.json_output import echo_json
from fedpriv.errors import InputError

if TYPE_CHECKING:
    from fedpriv.model.folder import Card
    from fedpriv.model.model_card import ModelCard
    from fedpriv.smears.index import Index


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run with its bundle.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Labelled images, with a manifest.csv whose test split nobody trained on."),
    ] = None,
    new_hospital: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A hospital of that manifest that took no part; give several."),
    ] = None,
    without_privacy: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="A model that was trained without noise, to compare."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Where the images come from, in a sentence.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON for scripts.")] = False,
) -> None:
    """Make the model card that doctors read beside an answer.

    Every claim of the run's bundle is recomputed first; if one fails, no card is made. Accuracy is counted
    here, on the images given: the test split without new hospitals, and all images of new hospitals. What is
    not given is shown as not measured.
    """
    from fedpriv.audit.model_card import model_card_of
    from fedpriv.coordinator.run_folder import BUNDLE_FILE, open_run
    from fedpriv.model.folder import load_model
    from fedpriv.model.model_card import write_model_card
    from fedpriv.smears.index import index_images

    unseen = tuple(new_hospital or ())
    if images is None and (unseen or without_privacy is not None):
        raise InputError(
            "--new-hospital and --without-privacy need images to count on", hint="name them with --images"
        )
    opened = open_run(run)
    saved = load_model(opened.model_folder)
    index = None if images is None else index_images(images, saved.card.classes)
    held_out = None if index is None else _held_out(index, unseen)
    new = None if index is None or not unseen else _at(index, unseen, opened.study.names)
    plain = None if without_privacy is None else load_model(_plain(without_privacy, saved.card))
    made = model_card_of(
        opened.folder / BUNDLE_FILE,
        saved.card,
        source=source,
        held_out=None if held_out is None else evaluation_on(saved, held_out),
        new_hospitals=None if new is None else evaluation_on(saved, new),
        without_privacy=None if plain is None or held_out is None else evaluation_on(plain, held_out),
    )
    path = write_model_card(opened.model_folder, made)
    if as_json:
        echo_json(made)
    else:
        _print(made)
        typer.echo(f"written to {path}")


def _held_out(index: Index, unseen: tuple[str, ...]) -> Index:
    from fedpriv.smears.manifest import Split

    tested = index.select(split=Split.TEST)
    kept = tuple(entry for entry in tested.entries if entry.hospital not in unseen)
    if not kept:
        raise InputError(f"{index.folder}: every test image is of a new hospital")
    return replace(tested, entries=kept)


def _at(index: Index, unseen: tuple[str, ...], trained: tuple[str, ...]) -> Index:
    for name in unseen:
        if name in trained:
            raise InputError(f"--new-hospital {name}: it took part in the study")
        index.select(hospital=name)  # one without images is a mistake
    return replace(index, entries=tuple(entry for entry in index.entries if entry.hospital in unseen))


def _plain(path: Path, card: Card) -> Path:
    """The model folder in ``path``, if its model was trained without noise and answers the same question."""
    from fedpriv.model.folder import find_model_folder, load_model

    folder = find_model_folder(path)
    other = load_model(folder).card
    if other.privacy.noise != "none":
        raise InputError(f"--without-privacy {path}: that model was trained with noise")
    if other.classes != card.classes:
        raise InputError(f"--without-privacy {path}: its classes are {', '.join(other.classes)}")
    return folder


def _print(made: ModelCard) -> None:
    from fedpriv.model.evaluate import wilson_interval

    typer.echo(f"bundle           {made.proof.claims} claims hold, {made.proof.not_shown} not shown")
    for name, figures in (
        ("held out", made.held_out),
        ("new hospitals", made.new_hospitals),
        ("without privacy", made.without_privacy),
    ):
        if figures is None:
            typer.echo(f"{name:15}  not measured")
        else:
            low, high = wilson_interval(figures.accuracy, figures.images)
            typer.echo(
                f"{name:15}  {figures.accuracy:.1%} of {figures.images} images ({low:.1%} to {high:.1%})"
            )
