"""``fedpriv demo``: a whole federation on this machine, from nothing to a model and its privacy claim."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.errors import ImageError, InputError

if TYPE_CHECKING:
    from fedpriv.coordinator.run_folder import RoundEnded, RunFolder
    from fedpriv.model.evaluate import Evaluation
    from fedpriv.node.home import Dataset
    from fedpriv.smears.index import Index
    from fedpriv.study import Study

_CLASSES = ("Benign", "Early", "Pre", "Pro")
_MARK = ".fedpriv-demo"
_HOSPITALS, _PATIENTS_PER_HOSPITAL, _IMAGES_PER_PATIENT, _SEED = 3, 40, 8, 1


def demo(
    images: Annotated[
        Path | None,
        typer.Option(
            help="A folder whose manifest.csv names hospitals and splits.", show_default="smears drawn for it"
        ),
    ] = None,
    hospitals: Annotated[
        int | None, typer.Option(min=2, help="How many hospitals.", show_default="3, or all of the manifest")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="How many rounds.", show_default="what the study says")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="Train this study.", show_default="one drafted for the images")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where all is written; an older demo there is replaced.")] = Path(
        "out"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Run a whole federation on this machine, from keys to a model.

    The coordinator and the hospitals are real processes, with TLS, keys, masks and noise. Without
    --images, blood smears are drawn first: no patient's image is needed to try fedpriv.
    """
    from fedpriv.cli.local_federation import found
    from fedpriv.cli.model import SplitName, evaluation_of
    from fedpriv.cli.round_view import RoundView
    from fedpriv.coordinator import service

    _make_room(out)
    index = _drawn(out / "smears", hospitals or _HOSPITALS) if images is None else _given(images, hospitals)
    agreed = _study_for(index, study, rounds)
    typer.echo(
        f"{len(agreed.hospitals)} hospitals, {agreed.training.rounds} rounds of {agreed.study.name}", err=True
    )
    with found(out / "federation", agreed, _datasets(index, agreed)) as federation:
        federation.start()
        run = service.choose_run(federation.coordinator, study_path=federation.study_path, name=None)
        with RoundView(quiet=as_json) as view:
            ended = service.run_rounds(federation.coordinator, run, count=None, observe=view.show)
    if not run.completed():
        raise typer.Exit(1)
    _report(run, ended, evaluation_of(run.folder, index.folder, SplitName.TEST), as_json=as_json)


def _make_room(out: Path) -> None:
    """An empty ``out`` with the demo's mark; only a folder with that mark is ever replaced."""
    if out.exists():
        if not (out / _MARK).exists():
            raise InputError(
                f"{out} exists and was not made by the demo", hint="name another folder with --out"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / _MARK).touch()


def _drawn(folder: Path, hospitals: int) -> Index:
    from fedpriv.cli.data import progress_bar
    from fedpriv.smears.generate import generate

    count = hospitals * _PATIENTS_PER_HOSPITAL * _IMAGES_PER_PATIENT
    with progress_bar("drawing smears", count) as advance:
        return generate(
            folder,
            hospitals=hospitals,
            patients_per_hospital=_PATIENTS_PER_HOSPITAL,
            images_per_patient=_IMAGES_PER_PATIENT,
            seed=_SEED,
            on_progress=advance,
        )


def _given(folder: Path, hospitals: int | None) -> Index:
    from fedpriv.smears.index import index_images

    index = index_images(folder, _CLASSES)
    names = sorted({entry.hospital for entry in index.entries if entry.hospital})
    hint = f"`fedpriv data split {folder} --hospitals {hospitals or _HOSPITALS}` writes such a manifest"
    if not names or any(entry.hospital is None for entry in index.entries):
        raise ImageError(f"{folder}: not every image belongs to a hospital", hint=hint)
    if hospitals is not None and hospitals != len(names):
        raise ImageError(f"{folder}: images of {len(names)} hospitals, not of {hospitals}", hint=hint)
    return index


def _study_for(index: Index, path: Path | None, rounds: int | None) -> Study:
    """The study in ``path``, or one drafted from the training images; with its noise planned."""
    import msgspec

    from fedpriv.cli.study import draft
    from fedpriv.plan import plan
    from fedpriv.smears.manifest import Split
    from fedpriv.study import load_study, parse_study

    if path is not None:
        study = load_study(path)
    else:
        training = index.select(split=Split.TRAIN).entries
        units: dict[str, int] = {}
        for entry in training:
            if entry.hospital is not None:
                units[entry.hospital] = units.get(entry.hospital, 0) + 1
        study = parse_study(draft("demo", units, _CLASSES), "the demo's study")
    if rounds is not None:
        study = msgspec.structs.replace(
            study,
            training=msgspec.structs.replace(study.training, rounds=rounds),
            privacy=msgspec.structs.replace(study.privacy, noise_multiplier=None),
        )
    if study.privacy.noise_multiplier is None:
        study = study.with_noise_multiplier(plan(study).noise_multiplier)
    return study


def _datasets(index: Index, study: Study) -> dict[str, Dataset]:
    """Each hospital's own training images, by the manifest."""
    from fedpriv.node.home import Dataset

    return {
        name: Dataset(name=f"smears-{name}", images=str(index.folder.resolve()), hospital=name, split="train")
        for name in study.names
    }


def _report(run: RunFolder, ended: list[RoundEnded], result: Evaluation, *, as_json: bool) -> None:
    from fedpriv.cli.json_output import echo_json
    from fedpriv.cli.round_view import claim_lines, summary_of
    from fedpriv.coordinator.rounds import claim_of

    majority = max(figures.images for figures in result.classes) / result.images
    if as_json:
        figures = {"accuracy": result.accuracy, "macro_f1": result.macro_f1, "majority_class": majority}
        echo_json({**summary_of(run, ended), **figures, "test_images": result.images})
        return
    typer.echo()
    typer.echo(
        f"test accuracy {result.accuracy:.1%} on {result.images} images (always saying the largest class: "
        f"{majority:.1%})"
    )
    for line in claim_lines(claim_of(run)):
        typer.echo(line)
    for entry in ended:
        typer.echo(f"round {entry.round}: {entry.outcome}, cohort {' '.join(entry.cohort) or '-'}")
    typer.echo(f"run    {run.folder}")
    typer.echo(f"model  {run.model_folder}")
    typer.echo(f"next   fedpriv model predict {run.model_folder} IMAGE...")
