"""``fedpriv audit attack``: attack what is installed here, on images that are nobody's secret."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpriv.cli.data import progress_bar
from fedpriv.cli.examples import example
from fedpriv.cli.json_output import echo_json
from fedpriv.errors import InputError, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fedpriv.audit.attack.row import Row
    from fedpriv.audit.bench import Records
    from fedpriv.study import Study

app = typer.Typer(help="Attack what would be sent and published.", no_args_is_help=True)

StudyPath = Annotated[
    Path | None,
    typer.Option(
        "--study", help="Attack the mechanism of this study.", show_default="a small one of each kind"
    ),
]
PublicImages = Annotated[
    Path | None,
    typer.Option(
        "--images", metavar="DIR", help="Public images in class folders; none is drawn, no picture written."
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where to write pictures of drawn smears.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command(epilog=example("fedpriv audit attack inversion --out out/attack"))
def inversion(
    study: StudyPath = None, images: PublicImages = None, out: Out = None, as_json: AsJson = False
) -> None:
    """Make images out of what a coordinator sees of one.

    Raw, clipped, noised and masked updates, side by side. Exit code 1 if a claim is contradicted, or if
    the attack fails where it must succeed.
    """
    _report(_inversion(_studies(study), images, out), as_json=as_json)


@app.command("first-layer", epilog=example("fedpriv audit attack first-layer --out out/attack"))
def first_layer(
    study: StudyPath = None, images: PublicImages = None, out: Out = None, as_json: AsJson = False
) -> None:
    """Play a coordinator that picks the first layer.

    Shows what it would read if a hospital accepted its layer, and what refuses it.
    """
    _report(_first_layer(_studies(study), images, out), as_json=as_json)


@app.command(epilog=example("fedpriv audit attack membership --study study.toml"))
def membership(study: StudyPath = None, images: PublicImages = None, as_json: AsJson = False) -> None:
    """Guess who was trained on from a final model.

    Loss threshold and likelihood ratio with 16 shadow models, in some minutes.
    """
    _report(_membership(_studies(study), images), as_json=as_json)


@app.command("one-run", epilog=example("fedpriv audit attack one-run --study study.toml --json"))
def one_run(
    study: StudyPath = None,
    canaries: Annotated[
        int, typer.Option(min=100, max=5000, help="More of them can contradict a larger epsilon.")
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """Bound epsilon from below by one run with canaries.

    Prints the highest bound that could have come out beside the one that did. Exit code 1 if the bound
    is above the claim: it is by chance once in 20 times at most, for a claim that just holds.
    """
    _report(_one_run(_studies(study), canaries), as_json=as_json)


@app.command("all", epilog=example("fedpriv audit attack all --out out/attack"))
def every(
    study: StudyPath = None, images: PublicImages = None, out: Out = None, as_json: AsJson = False
) -> None:
    """Run every attack, one after the other.

    Exit code 1 if one of them contradicts a claim, or fails where it must succeed.
    """
    studies = _studies(study)

    def rows() -> Iterator[Row]:
        yield from _one_run(studies, canaries=1000)
        yield from _first_layer(studies, images, out)
        yield from _inversion(studies, images, out)
        yield from _membership(studies, images)

    _report(rows(), as_json=as_json)


@app.command(epilog=example("fedpriv audit attack probabilities runs/demo --images smears --csv table.csv"))
def probabilities(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run, or a model folder.")],
    images: Annotated[
        Path, typer.Option("--images", metavar="DIR", help="A folder with a manifest.csv that has splits.")
    ],
    csv: Annotated[Path, typer.Option("--csv", metavar="FILE", help="The table to write.")],
) -> None:
    """Write what a model says of each image, for other tools.

    Columns: image, member (1 for the training split), label, and a probability for each class.
    """
    from fedpriv.audit.attack.probabilities import table
    from fedpriv.model.folder import find_model_folder, load_model
    from fedpriv.smears.index import index_images

    saved = load_model(find_model_folder(model))
    index = index_images(images, saved.card.classes)
    text = table(saved, index)
    csv.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {csv}: {len(index.entries)} images")


def _studies(path: Path | None) -> tuple[Study, ...]:
    from fedpriv.audit.attack.subjects import small_studies
    from fedpriv.study import load_study

    if path is None:
        return small_studies()
    study = load_study(path)
    if study.noise_multiplier == 0:
        raise InputError(
            f'the study {study.study.name} has noise = "none": it claims nothing that could be contradicted',
            hint="name a study that protects its images",
        )
    return (study,)


def _records(study: Study, count: int, size: int, folder: Path | None) -> Records:
    from fedpriv.audit.attack.public_smears import public_records

    with progress_bar("reading" if folder else "drawing", count) as advance:
        return public_records(study, count, size, folder=folder, on_progress=advance)


def _inversion(studies: tuple[Study, ...], images: Path | None, out: Path | None) -> Iterator[Row]:
    from fedpriv.audit.attack import inversion as attack
    from fedpriv.audit.attack.networks import CNN_SIZE
    from fedpriv.audit.attack.pictures import side_by_side

    for study in studies:
        small = _records(study, attack.RECORDS, CNN_SIZE, images)
        with progress_bar("inverting", attack.VICTIMS) as advance:
            painted = attack.paint(study, small, on_progress=advance)
        if out is not None and images is None:
            columns = {name: [one.pictures[name] for one in painted] for name in painted[0].pictures}
            path = out / f"inversion-{study.privacy.noise}.png"
            side_by_side(path, {"original": [one.original for one in painted], **columns})
            typer.echo(f"wrote {path}", err=True)
        yield from attack.painter_rows(study, small, painted)
        same_size = study.images.size == CNN_SIZE
        own = small if same_size else _records(study, attack.RECORDS, study.images.size, images)
        yield from attack.matcher_rows(study, own)


def _first_layer(studies: tuple[Study, ...], images: Path | None, out: Path | None) -> Iterator[Row]:
    from fedpriv.audit.attack import first_layer as attack
    from fedpriv.audit.attack.inversion import RECORDS
    from fedpriv.audit.attack.networks import CNN_SIZE
    from fedpriv.audit.attack.pictures import side_by_side

    for study in studies:
        records = _records(study, RECORDS, CNN_SIZE, images)
        pictures = attack.read_out(study, records)
        if out is not None and images is None:
            path = out / f"first-layer-{study.privacy.noise}.png"
            side_by_side(path, {"original": list(records.images[: attack.VICTIMS]), **pictures})
            typer.echo(f"wrote {path}", err=True)
        yield from attack.first_layer_rows(study, records, pictures)


def _membership(studies: tuple[Study, ...], images: Path | None) -> Iterator[Row]:
    from fedpriv.audit.attack import membership as attack

    for study in studies:
        records = _records(study, attack.IMAGES, study.images.size, images)
        with progress_bar("training", 2 * (attack.SHADOWS + 1)) as advance:
            # Nothing is printed while a bar is shown: it would take lines of the output for its own.
            rows = list(attack.membership(study, records.images, on_progress=advance))
        yield from rows


def _one_run(studies: tuple[Study, ...], canaries: int) -> Iterator[Row]:
    from fedpriv.audit.attack import one_run as attack

    for study in studies:
        yield from attack.one_run(study, canaries=canaries)


def _report(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print each row when it is there; Refused at the end if a claim or a control fails."""
    from fedpriv.audit.attack.row import Role

    found: list[Row] = []
    attack = ""
    for row in rows:
        found.append(row)
        if as_json:
            continue
        if row.attack != attack:
            attack = row.attack
            typer.echo(attack)
        typer.echo(f"  {row.subject}: {row.observed}; {row.conclusion}")
    contradicted = [row for row in found if row.role is Role.SUBJECT and not row.holds]
    powerless = [row for row in found if row.role is Role.CONTROL and not row.holds]
    if as_json:
        echo_json(
            {
                "contradicted": bool(contradicted),
                "rows": [{**asdict(row), "conclusion": row.conclusion} for row in found],
            }
        )
    if contradicted:
        first = contradicted[0]
        raise Refused(
            f"{len(contradicted)} rows contradict what is claimed, first {first.attack}, {first.subject}",
            hint="run `fedpriv audit conformance`; train nothing with this installation",
        )
    if powerless:
        first = powerless[0]
        raise Refused(
            f"nothing is shown: an attack fails where nothing protects, {first.attack}, {first.subject}",
            hint="its other lines say nothing about the claim; more --canaries make a one-run audit stronger",
        )
