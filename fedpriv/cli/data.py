"""``fedpriv data``: look at images before training, split them, or draw some."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json
from fedpriv.errors import ImageError
from fedpriv.smears.split import Tie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fedpriv.smears.check import CheckReport
    from fedpriv.smears.index import Index

app = typer.Typer(help="Check, split or generate folders of smear images.", no_args_is_help=True)

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Class folders, or a folder with a manifest.csv.")
]
Classes = Annotated[str, typer.Option(help="The study's classes, separated by commas.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")]

_CLASSES = "Benign,Early,Pre,Pro"


@app.command(epilog=example("fedpriv data check smears --json"))
def check(folder: Folder, classes: Classes = _CLASSES, as_json: AsJson = False) -> None:
    """Count images; find those that are bad, changed or split wrongly.

    Exit code 0: nothing found. 1: something was found, it is listed. 2: the folder or its manifest is wrong.
    """
    from dataclasses import asdict

    from fedpriv.smears.check import check_images

    index = _index(folder, classes)
    with progress_bar("checking", len(index.entries)) as advance:
        report = check_images(index, advance)
    if as_json:
        echo_json({"clean": report.clean, **asdict(report)})
    else:
        _print_report(report)
    if not report.clean:
        raise typer.Exit(1)


@app.command(epilog=example("fedpriv data split smears --by patient --hospitals 3 --replace"))
def split(
    folder: Folder,
    classes: Classes = _CLASSES,
    by: Annotated[Tie, typer.Option(help="What must not be separated.")] = Tie.PATIENT,
    test_fraction: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of each class to test on.")
    ] = 0.2,
    hospitals: Annotated[
        int, typer.Option(min=0, help="Deal the images to this many hospitals; 0 keeps the manifest's.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where to write; DIR/manifest.csv if not given.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a manifest that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a manifest.csv that splits images into train and test.

    No patient, and no group of nearly equal images, is on both sides.
    """
    from fedpriv.smears.generate import hospital_names
    from fedpriv.smears.index import with_digests
    from fedpriv.smears.manifest import MANIFEST_NAME, Split, write_manifest
    from fedpriv.smears.split import split_hospitals, split_train_test

    path = out or folder / MANIFEST_NAME
    index = _index(folder, classes)
    if path.exists() and not replace:
        raise ImageError(f"{path}: exists already", hint="--replace it, or name another file with --out")
    entries = with_digests(index).entries
    if hospitals:
        entries = split_hospitals(entries, tie=by, hospitals=hospital_names(hospitals), seed=seed)
    entries = split_train_test(entries, tie=by, test_fraction=test_fraction, seed=seed)
    write_manifest(path, entries)
    in_test = sum(entry.split is Split.TEST for entry in entries)
    if as_json:
        echo_json({"manifest": str(path), "train": len(entries) - in_test, "test": in_test})
    else:
        typer.echo(f"wrote {path}: {len(entries) - in_test} images to train on, {in_test} to test on")


@app.command(epilog=example("fedpriv data generate --out smears --hospitals 3 --seed 1"))
def generate(
    out: Annotated[Path, typer.Option(help="The folder to make; it must not exist.")],
    hospitals: Annotated[int, typer.Option(min=1, help="Each has its own stain.")] = 3,
    patients_per_hospital: Annotated[int, typer.Option(min=4, help="Classes take turns over them.")] = 40,
    images_per_patient: Annotated[int, typer.Option(min=1, help="Fields of one patient's smear.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same images.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw blood smears of known patients, to try everything on.

    Four classes; each hospital has its own stain. The data is public.
    """
    from fedpriv.smears.generate import generate as draw

    with progress_bar("drawing", hospitals * patients_per_hospital * images_per_patient) as advance:
        index = draw(
            out,
            hospitals=hospitals,
            patients_per_hospital=patients_per_hospital,
            images_per_patient=images_per_patient,
            seed=seed,
            on_progress=advance,
        )
    patients = hospitals * patients_per_hospital
    if as_json:
        echo_json({"folder": str(out), "images": len(index.entries), "patients": patients})
    else:
        typer.echo(
            f"wrote {out}: {len(index.entries)} images of {patients} patients at {hospitals} hospitals"
        )


def _index(folder: Path, classes: str) -> Index:
    from fedpriv.smears.index import index_images

    names = tuple(name.strip() for name in classes.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ImageError(f"--classes {classes!r} repeats a name or leaves one empty")
    return index_images(folder, names)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on a terminal, nothing elsewhere; yields what to call with the number done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def _print_report(report: CheckReport) -> None:
    typer.echo(f"{'hospital':<12}{'split':<8}{'class':<12}{'images':>8}{'patients or slides':>20}")
    for count in report.counts:
        sources = "-" if count.sources is None else count.sources
        where = f"{count.hospital or '-':<12}{count.split or '-':<8}{count.label:<12}"
        typer.echo(f"{where}{count.images:>8}{sources:>20}")
    for what, findings in (
        ("", report.bad),
        (" is not the file that the manifest describes", report.changed),
        (" is one file on both sides of the split", tuple(" = ".join(same) for same in report.duplicates)),
        (" is a group on both sides of the split", report.groups),
        (" is a patient on both sides of the split", report.patients),
    ):
        for finding in findings:
            typer.echo(f"found: {finding}{what}")
    total = sum(count.images for count in report.counts)
    typer.echo(
        f"{total} images, nothing found" if report.clean else f"{total} images, see what was found above"
    )
