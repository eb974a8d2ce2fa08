"""Whether a hospital's images are what a study declares, and are charged under one name only."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fedpriv.diagnosis import Diagnosis, Health
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import FedprivError, ImageError
from fedpriv.node.register import load_register
from fedpriv.smears.check import report_on
from fedpriv.smears.index import index_images
from fedpriv.smears.load import Unit, inspect_images, number_units
from fedpriv.smears.manifest import Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fedpriv.node.chain import Row
    from fedpriv.node.home import NodeHome
    from fedpriv.smears.check import CheckReport
    from fedpriv.smears.index import Index
    from fedpriv.smears.load import Picture
    from fedpriv.study import Study

_SHOWN = 3


def image_diagnoses(home: NodeHome, study: Study, rows: Sequence[Row]) -> Iterator[Diagnosis]:
    """Everything about the images that ``study`` would be trained on; decodes and hashes each of them."""
    dataset = home.config.dataset
    try:
        ours = index_images(home.images_path, study.study.classes).select(hospital=dataset.hospital)
        trained = ours.select(split=Split(dataset.split) if dataset.split else None)
    except ImageError as error:
        yield Diagnosis("images", Health.FAIL, error.message, error.hint)
        return
    yield _counts(trained, study)
    inspection = inspect_images(ours)
    used = set(trained.entries)
    pictures = [
        picture
        for entry, picture in zip(ours.entries, inspection.pictures, strict=True)
        if picture is not None and entry in used
    ]
    yield _units(trained, pictures, study, home.config.name)
    yield _dataset(home, rows, pictures)
    yield from _patients(pictures, study)
    yield from _files(report_on(ours, inspection), skips=dataset.on_bad_image == "skip")


def _counts(index: Index, study: Study) -> Diagnosis:
    images = Counter(entry.label for entry in index.entries)
    listed = ", ".join(f"{label} {images[label]}" for label in study.study.classes)
    missing = [label for label in study.study.classes if not images[label]]
    if missing:
        return Diagnosis(
            "images",
            Health.WARN,
            f"{len(index.entries)} in {index.folder}: {listed}",
            f"no image of {', '.join(missing)} would be trained on here; is the split right?",
        )
    return Diagnosis("images", Health.OK, f"{len(index.entries)} in {index.folder}: {listed}")


def _units(index: Index, pictures: Sequence[Picture], study: Study, hospital: str) -> Diagnosis:
    """Units found against units declared; a study of patients needs to know them."""
    unit, declared = study.privacy.unit, study.hospitals.get(hospital, 0)
    if unit == "patient":
        nameless = [entry.path for entry in index.entries if entry.source is None]
        if nameless:
            return Diagnosis(
                "units",
                Health.FAIL,
                f"{len(nameless)} images name no patient, first {nameless[0]}; the study protects patients",
                "fill the column patient_id of manifest.csv for every image",
            )
    found = len(set(number_units(pictures, Unit(unit)).tolist()))
    told = f"{found} {unit}s found, {declared} declared in {study.study.name}"
    if found == declared:
        return Diagnosis("units", Health.OK, told)
    return Diagnosis(
        "units",
        Health.WARN,
        told,
        "weights come from the declared number; ask the operator for a study that declares what is here",
    )


def _dataset(home: NodeHome, rows: Sequence[Row], pictures: Sequence[Picture]) -> Diagnosis:
    """Whether these images may be charged under the name that node.toml gives them."""
    name = home.config.dataset.name
    try:
        register = load_register(home.folder, rows)
        charged = len(register.of(name).images)
        bound = len(register.enter(name, pictures).of(name).images)
    except FedprivError as error:
        return Diagnosis("dataset", Health.FAIL, error.message, error.hint)
    if not charged:
        return Diagnosis("dataset", Health.OK, f"{name}, never charged: the first round binds {bound} images")
    new = f"; {bound - charged} are new here and share its budget" if bound > charged else ""
    return Diagnosis("dataset", Health.OK, f"{name}, charged for {charged} images{new}")


def _patients(pictures: Sequence[Picture], study: Study) -> Iterator[Diagnosis]:
    """What a study of images means for the patient with most of them; it is for this hospital alone."""
    images = Counter(picture.person for picture in set(pictures) if picture.person is not None)
    if study.privacy.unit == "patient" or not images:
        return
    most = max(images.values())
    cost = study.cost_of(study.training.rounds)
    epsilon = composed_epsilon([cost], study.privacy.delta, group_size=most).pld
    yield Diagnosis(
        "patients",
        Health.OK,
        f"{len(images)}; for the one with most images, all {most} of them together, {study.study.name} costs "
        f"epsilon {epsilon:.4g} (not to be passed on)",
    )


def _files(report: CheckReport, *, skips: bool) -> Iterator[Diagnosis]:
    """One line for what must not be there; ``skips``: the admin lets bad images be left out."""
    findings = [
        (
            "unusable images",
            report.bad,
            Health.WARN if skips else Health.FAIL,
            "they are left out by name" if skips else 'repair or remove them, or on_bad_image = "skip"',
        ),
        (
            "changed images",
            report.changed,
            Health.FAIL,
            "they are not the files that manifest.csv names: restore them, or write a new manifest",
        ),
        (
            "images in train and test",
            tuple(paths[0] for paths in report.duplicates),
            Health.WARN,
            "move all copies to one side, or the test accuracy is too good",
        ),
        (
            "groups in train and test",
            report.groups,
            Health.WARN,
            "move nearly equal fields to one side; `fedpriv data split` does",
        ),
        (
            "patients in train and test",
            report.patients,
            Health.WARN,
            "move all images of a patient to one side; `fedpriv data split` does",
        ),
    ]
    for subject, found, health, fix in findings:
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            yield Diagnosis(subject, health, f"{', '.join(found[:_SHOWN])}{more}", fix)
    if report.clean:
        yield Diagnosis("image files", Health.OK, "all readable, none on both sides of the split")
