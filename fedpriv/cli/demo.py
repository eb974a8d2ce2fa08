"""``fedpriv demo``: a whole federation on this machine, from nothing to a model and its privacy claim."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.errors import ImageError, InputError, RoundFailed, StudyError

if TYPE_CHECKING:
    from fedpriv.coordinator.events import Event
    from fedpriv.coordinator.run_folder import RoundEnded, RunFolder
    from fedpriv.model.evaluate import Evaluation
    from fedpriv.node.home import Dataset
    from fedpriv.smears.index import Index
    from fedpriv.study import Study

_CLASSES = ("Benign", "Early", "Pre", "Pro")
_MARK = ".fedpriv-demo"
_DRAWN_SOURCE = "Smears drawn by fedpriv; no patient's image was used."
_HOSPITALS, _PATIENTS_PER_HOSPITAL, _IMAGES_PER_PATIENT, _SEED = 3, 80, 8, 1


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
    --images, blood smears are drawn first: no patient's image is needed to try fedpriv. Exit code 0 if
    every round was complete, 1 if one failed.
    """
    from fedpriv.audit.model_card import model_card_of
    from fedpriv.cli.evaluation import SplitName, evaluation_of
    from fedpriv.cli.final_word import all_complete
    from fedpriv.cli.json_output import echo_json
    from fedpriv.cli.local_federation import found
    from fedpriv.cli.round_view import RoundView, summary_of
    from fedpriv.coordinator import service
    from fedpriv.coordinator.bundle import write_bundle
    from fedpriv.model.folder import load_model
    from fedpriv.model.model_card import write_model_card
    from fedpriv.study import load_study

    # What is given is checked first: a mistake must not cost an older demo.
    index = None if images is None else _given(images, hospitals)
    agreed = None
    if study is not None:
        agreed = _planned(load_study(study), rounds)
        _check_study(agreed, _names_drawn(hospitals) if index is None else _names_in(index))
    elif index is not None:
        agreed = _planned(_drafted(index), rounds)
    _make_room(out, images, study)
    index = index or _drawn(out / "smears", _names_drawn(hospitals))
    agreed = agreed or _planned(_drafted(index), rounds)
    typer.echo(
        f"{len(agreed.hospitals)} hospitals, {agreed.training.rounds} rounds of {agreed.study.name}", err=True
    )
    with found(out / "federation", agreed, _datasets(index, agreed)) as federation:
        federation.start()
        run = service.choose_run(federation.coordinator, study_path=federation.study_path, name=None)
        with RoundView(quiet=as_json) as view:

            def observe(event: Event) -> None:
                if not run.lines():  # nobody was invited yet: say at once why somebody does not come
                    federation.check_alive(*federation.nodes)
                view.show(event)

            ended = service.run_rounds(federation.coordinator, run, count=None, observe=observe)
    if not run.completed():
        raise RoundFailed(f"no round was complete; the last one failed: {ended[-1].reason}")
    short = out / "run"
    short.symlink_to(run.folder.relative_to(out))
    bundle = write_bundle(
        run,
        federation.coordinator.roster(),
        federation.coordinator.identity(),
        federation.exports(run.run),
    )
    (out / bundle.name).symlink_to(bundle.relative_to(out))
    result = evaluation_of(run.folder, index.folder, SplitName.TEST)
    write_model_card(
        run.model_folder,
        model_card_of(
            bundle,
            load_model(run.model_folder).card,
            source=_DRAWN_SOURCE if images is None else None,
            held_out=result,
            new_hospitals=None,
            without_privacy=None,
        ),
    )
    if as_json:
        echo_json({**summary_of(run, ended), **_figures(result)})
    else:
        _report(run, short, ended, result)
    if not all_complete(ended):
        raise typer.Exit(1)


def _make_room(out: Path, *given: Path | None) -> None:
    """An empty ``out`` with the demo's mark; only a folder with that mark and not ``given`` is replaced."""
    if out.exists():
        if not (out / _MARK).exists():
            raise InputError(
                f"{out} exists and was not made by the demo", hint="name another folder with --out"
            )
        for path in given:
            if path is not None and path.resolve().is_relative_to(out.resolve()):
                raise InputError(
                    f"{path} lies in {out}, which is about to be replaced", hint="name another --out"
                )
        shutil.rmtree(out)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made: {(error.strerror or '').lower()}") from error
    (out / _MARK).touch()


def _names_drawn(hospitals: int | None) -> tuple[str, ...]:
    from fedpriv.smears.generate import hospital_names

    return hospital_names(hospitals or _HOSPITALS)


def _names_in(index: Index) -> tuple[str, ...]:
    return tuple(sorted({entry.hospital for entry in index.entries if entry.hospital}))


def _drawn(folder: Path, names: tuple[str, ...]) -> Index:
    from fedpriv.cli.data import progress_bar
    from fedpriv.smears.generate import generate

    count = len(names) * _PATIENTS_PER_HOSPITAL * _IMAGES_PER_PATIENT
    with progress_bar("drawing smears", count) as advance:
        return generate(
            folder,
            hospitals=len(names),
            patients_per_hospital=_PATIENTS_PER_HOSPITAL,
            images_per_patient=_IMAGES_PER_PATIENT,
            seed=_SEED,
            on_progress=advance,
        )


def _given(folder: Path, hospitals: int | None) -> Index:
    from fedpriv.smears.index import index_images

    index = index_images(folder, _CLASSES)
    names = _names_in(index)
    hint = f"`fedpriv data split {folder} --hospitals {hospitals or _HOSPITALS}` writes such a manifest"
    if not names or any(entry.hospital is None for entry in index.entries):
        raise ImageError(f"{folder}: not every image belongs to a hospital", hint=hint)
    if hospitals is not None and hospitals != len(names):
        raise ImageError(f"{folder}: images of {len(names)} hospitals, not of {hospitals}", hint=hint)
    return index


def _check_study(study: Study, names: tuple[str, ...]) -> None:
    """StudyError unless every hospital of ``study`` has images, and they are of its classes."""
    missing = [name for name in study.names if name not in names]
    if missing:
        raise StudyError(
            f"the study {study.study.name} is for {', '.join(study.names)}; there are no images of "
            f"{', '.join(missing)}, only of {', '.join(names)}",
            hint="change [hospitals] in the study, or --images or --hospitals",
        )
    if set(study.study.classes) != set(_CLASSES):
        raise StudyError(
            f"the demo's classes are {', '.join(_CLASSES)}, not {', '.join(study.study.classes)}"
        )


def _drafted(index: Index) -> Study:
    """A study for the training images of ``index``."""
    from collections import Counter

    from fedpriv.cli.study import draft
    from fedpriv.smears.manifest import Split
    from fedpriv.study import parse_study

    training = index.select(split=Split.TRAIN).entries
    units = Counter(entry.hospital for entry in training if entry.hospital is not None)
    return parse_study(draft("demo", units, _CLASSES), "the demo's study")


def _planned(study: Study, rounds: int | None) -> Study:
    """``study`` with its noise, and with ``rounds`` if they are given."""
    import msgspec

    from fedpriv.plan import plan

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


def _figures(result: Evaluation) -> dict[str, float]:
    return {
        "accuracy": result.accuracy,
        "macro_f1": result.macro_f1,
        "majority_class": max(figures.images for figures in result.classes) / result.images,
        "test_images": result.images,
    }


def _report(run: RunFolder, short: Path, ended: list[RoundEnded], result: Evaluation) -> None:
    from fedpriv.cli.final_word import all_complete, first_line, lost_largest
    from fedpriv.cli.round_view import claim_lines, time_line
    from fedpriv.coordinator.rounds import claim_of
    from fedpriv.coordinator.run_folder import BUNDLE_FILE

    figures = _figures(result)
    typer.echo()
    if lost_largest(run) or not all_complete(ended):
        typer.echo(first_line(run, ended))
    typer.echo(
        f"test accuracy {result.accuracy:.1%} on {result.images} images (always saying the largest class: "
        f"{figures['majority_class']:.1%})"
    )
    for line in claim_lines(claim_of(run)):
        typer.echo(line)
    for entry in ended:
        typer.echo(f"round {entry.round}: {entry.outcome}, cohort {' '.join(entry.cohort) or '-'}")
    typer.echo(time_line(run))
    typer.echo(f"written to {run.folder}, for short {short}")
    typer.echo(f"next: fedpriv model show {short}")
    typer.echo(f"      fedpriv audit verify {short.parent / BUNDLE_FILE}")
    typer.echo(f"      fedpriv audit report {short.parent / BUNDLE_FILE} --out report.html")
    typer.echo(f"      fedpriv page user add NAME, then fedpriv page start --model {short}")
