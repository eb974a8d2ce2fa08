import hashlib
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import ImageError
from fedpriv.smears import generate as generating
from fedpriv.smears.generate import CLASSES, generate, hospital_names
from fedpriv.smears.index import index_images
from fedpriv.smears.manifest import Split

SMALL = {"hospitals": 1, "patients_per_hospital": 4, "images_per_patient": 1}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        generate(tmp_path / name, **SMALL, seed=seed)
    one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one.keys() == three.keys()
    assert all(one[name] != three[name] for name in one if name.endswith(".png"))


def test_more_patients_and_hospitals_leave_the_first_ones_as_they_are(tmp_path):
    few = generate(tmp_path / "few", **SMALL, seed=5)
    generate(tmp_path / "many", hospitals=2, patients_per_hospital=5, images_per_patient=2, seed=5)
    for entry in few.entries:
        assert (tmp_path / "many" / entry.path).read_bytes() == few.locate(entry).read_bytes()


def test_what_is_returned_is_what_the_folder_says(smears):
    assert index_images(smears.folder, CLASSES) == smears


def test_every_patient_has_one_class_one_hospital_and_one_side_of_the_split(smears):
    of_patient = defaultdict(list)
    for entry in smears.entries:
        of_patient[entry.patient].append(entry)
    assert len(of_patient) == 16
    for entries in of_patient.values():
        assert len(entries) == 2
        assert len({(entry.label, entry.hospital, entry.split) for entry in entries}) == 1
    assert Counter(entry.hospital for entry in smears.entries) == {"A": 16, "B": 16}
    assert Counter(entry.label for entry in smears.entries) == dict.fromkeys(CLASSES, 8)


def test_every_class_is_trained_and_tested_on(smears):
    for split in Split:
        assert {entry.label for entry in smears.select(split=split).entries} == set(CLASSES)


def test_files_are_rgb_fields_with_the_digests_of_the_manifest(smears):
    digests = set()
    for entry in smears.entries:
        data = smears.locate(entry).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry.sha256
        with Image.open(smears.locate(entry)) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (224, 224))
        digests.add(entry.sha256)
    assert len(digests) == len(smears.entries)


def test_hospitals_differ_in_stain(tmp_path):
    """Mean colours of two hospitals are further apart than those of halves of one hospital."""
    index = generate(tmp_path / "s", hospitals=2, patients_per_hospital=16, images_per_patient=1, seed=2)

    def mean_ratio(entries):
        pixels = np.stack([np.asarray(Image.open(index.locate(entry)), np.float64) for entry in entries])
        red, _, blue = pixels.reshape(-1, 3).mean(axis=0)
        return red / blue

    a, b = ([entry for entry in index.entries if entry.hospital == name] for name in "AB")
    within = max(abs(mean_ratio(part[:8]) - mean_ratio(part[8:])) for part in (a, b))
    assert abs(mean_ratio(a) - mean_ratio(b)) > within


def test_progress_counts_every_image_once(tmp_path):
    seen = []
    generate(tmp_path / "s", **SMALL, seed=0, on_progress=seen.append)
    assert seen == [1, 2, 3, 4]


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("keep")
    with pytest.raises(ImageError, match="exists already"):
        generate(tmp_path / "s", **SMALL, seed=0)
    assert contents(tmp_path) == {"s/mine.txt": b"keep"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_half_written(tmp_path, monkeypatch, error):
    def fail(path, entries):
        raise error

    monkeypatch.setattr(generating, "write_manifest", fail)
    with pytest.raises((ImageError, KeyboardInterrupt)):
        generate(tmp_path / "s", **SMALL, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ImageError, match="cannot be written"):
        generate(tmp_path / "absent" / "s", **SMALL, seed=0)


@pytest.mark.parametrize(
    "wrong",
    [{"hospitals": 0}, {"patients_per_hospital": 3}, {"images_per_patient": 0}, {"seed": -1}],
)
def test_too_few_of_anything_is_refused(tmp_path, wrong):
    with pytest.raises(ImageError, match="cannot draw"):
        generate(tmp_path / "s", **({**SMALL, "seed": 0} | wrong))
    assert list(tmp_path.iterdir()) == []


def test_hospital_names_go_on_after_z():
    names = hospital_names(54)
    assert names[:3] == ("A", "B", "C")
    assert names[25:28] == ("Z", "AA", "AB")
    assert names[51:] == ("AZ", "BA", "BB")
