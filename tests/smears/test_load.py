import time

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import ImageError
from fedpriv.smears.decode import decode
from fedpriv.smears.index import index_images
from fedpriv.smears.load import OnBad, Unit, inspect_images, load_images
from fedpriv.smears.manifest import Split

CLASSES = ("X", "Y")


@pytest.fixture
def one_bad(class_folders):
    (class_folders / "X" / "b.jpg").write_text("not an image")
    return index_images(class_folders, CLASSES)


def test_arrays_follow_the_index(class_folders):
    index = index_images(class_folders, CLASSES)
    loaded = load_images(index, 16)
    assert loaded.images.shape == (4, 16, 16, 3)
    assert loaded.images.dtype == np.float32
    np.testing.assert_array_equal(loaded.labels, np.array([0, 0, 1, 1], np.int64))
    np.testing.assert_array_equal(loaded.units, np.arange(4))
    assert loaded.skipped == ()
    for image, entry in zip(loaded.images, index.entries, strict=True):
        np.testing.assert_array_equal(image, decode(index.locate(entry), 16))


def test_labels_count_in_the_order_of_the_classes(class_folders):
    loaded = load_images(index_images(class_folders, ("Y", "X")), 16)
    np.testing.assert_array_equal(loaded.labels, [0, 0, 1, 1])
    np.testing.assert_allclose(loaded.images[:2, 0, 0, 0] * 255, [140, 190], atol=2)


def test_a_bad_image_is_refused_by_name_with_the_count(one_bad):
    with pytest.raises(ImageError) as caught:
        load_images(one_bad, 16)
    assert "1 of 4 images" in caught.value.message
    assert "first X/b.jpg: not a JPEG, PNG, TIFF or BMP image" in caught.value.message


def test_a_bad_image_is_skipped_by_name_if_the_admin_says_so(one_bad, class_folders):
    loaded = load_images(one_bad, 16, on_bad=OnBad.SKIP)
    assert loaded.skipped == ("X/b.jpg: not a JPEG, PNG, TIFF or BMP image",)
    np.testing.assert_array_equal(loaded.labels, [0, 1, 1])
    np.testing.assert_array_equal(loaded.images[1], decode(class_folders / "Y" / "c.bmp", 16))
    assert len(loaded.images) == len(loaded.units) == 3


def test_nothing_but_bad_images_is_refused_even_when_skipping(one_bad):
    for entry in one_bad.entries:
        one_bad.locate(entry).write_text("not an image")
    with pytest.raises(ImageError, match="4 of 4 images"):
        load_images(one_bad, 16, on_bad=OnBad.SKIP)


def test_a_file_that_vanished_since_the_index_is_a_bad_image(one_bad):
    one_bad.locate(one_bad.entries[0]).unlink()
    loaded = load_images(one_bad, 16, on_bad=OnBad.SKIP)
    assert loaded.skipped[0] == "X/a.png: cannot be read (No such file or directory)"


def test_an_inspection_says_the_same_of_every_image_and_keeps_no_pixels(one_bad):
    inspection = inspect_images(one_bad)
    assert inspection.bad == ("X/b.jpg: not a JPEG, PNG, TIFF or BMP image",)
    assert inspection.pictures[1] is None
    loaded = load_images(one_bad, 16, on_bad=OnBad.SKIP)
    assert loaded.pictures == tuple(picture for picture in inspection.pictures if picture is not None)


def test_a_copy_of_an_image_is_no_unit_of_its_own(class_folders):
    """Neither under another name nor in another format; its patient is another matter."""
    with Image.open(class_folders / "X" / "a.png") as image:
        image.save(class_folders / "Y" / "e.tiff")
    loaded = load_images(index_images(class_folders, CLASSES), 16)
    np.testing.assert_array_equal(loaded.units, [0, 1, 2, 3, 0])
    assert loaded.pictures[0] == loaded.pictures[4]


def test_progress_counts_every_image_once(one_bad):
    seen = []
    load_images(one_bad, 16, on_bad=OnBad.SKIP, on_progress=seen.append)
    inspect_images(one_bad, seen.append)
    assert seen == [1, 2, 3, 4, 1, 2, 3, 4]


def test_images_of_a_patient_are_one_unit(smears):
    loaded = load_images(smears, 16, unit=Unit.PATIENT)
    by_unit = {}
    for unit, entry in zip(loaded.units, smears.entries, strict=True):
        by_unit.setdefault(int(unit), set()).add(entry.patient)
    assert len(by_unit) == 16
    assert all(len(patients) == 1 for patients in by_unit.values())
    assert sorted(by_unit) == list(range(16))


def test_patients_with_one_name_in_two_hospitals_are_two_units(class_folders):
    rows = "file,label,hospital,patient_id\nX/a.png,X,A,1\nX/b.jpg,X,B,1\nY/c.bmp,Y,A,1\n"
    (class_folders / "manifest.csv").write_text(rows)
    loaded = load_images(index_images(class_folders, CLASSES), 16, unit=Unit.PATIENT)
    np.testing.assert_array_equal(loaded.units, [0, 1, 0])


def test_patients_cannot_be_protected_if_an_image_names_none(class_folders):
    (class_folders / "manifest.csv").write_text("file,label,patient_id\nX/a.png,X,p1\nY/c.bmp,Y,\n")
    with pytest.raises(ImageError, match=r"Y/c\.bmp names no patient"):
        load_images(index_images(class_folders, CLASSES), 16, unit=Unit.PATIENT)


@pytest.mark.real_smears
def test_the_real_training_set_loads_in_seconds(real_smears):
    index = index_images(real_smears, ("Benign", "Early", "Pre", "Pro")).select(split=Split.TRAIN)
    started = time.monotonic()
    loaded = load_images(index, 64, unit=Unit.PATIENT)
    assert time.monotonic() - started < 20
    assert loaded.images.shape == (2176, 64, 64, 3)
    assert loaded.skipped == ()
    assert loaded.images.mean() > 0.6  # pale background
