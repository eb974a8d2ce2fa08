"""What the doctor finds of images, patients and the budget that is bound to them."""

import shutil

import pytest
from support.charges import charge, pictures
from support.examined import PATIENTS, approve, configure, diagnoses, fails, home_index, own_images, study

from fedpriv.diagnosis import Health
from fedpriv.dp.accounting import composed_epsilon
from fedpriv.smears.load import inspect_images
from fedpriv.smears.manifest import MANIFEST_NAME


def test_images_that_are_gone(home):
    configure(home, home.config.dataset.images, "/nowhere")
    assert diagnoses(home)["images"].health is Health.FAIL


def test_images_that_were_charged_under_another_name(home):
    with home.open_journal() as journal:
        charge(home, journal, study(), 1, inspect_images(home_index(home)).pictures)
    assert diagnoses(home)["dataset"].found == "smears, charged for 16 images"
    configure(home, 'name = "smears"', 'name = "new"')
    fails(
        home, "dataset", "the budget of smears was charged for images that are in new now", 'name = "smears"'
    )


def test_images_that_were_added_share_the_budget(home):
    assert diagnoses(home)["dataset"].found == "smears, never charged: the first round binds 16 images"
    with home.open_journal() as journal:
        charge(home, journal, study(), 1, inspect_images(home_index(home)).pictures[:10])
    found = diagnoses(home)["dataset"]
    assert found.health is Health.OK
    assert found.found == "smears, charged for 10 images; 6 are new here and share its budget"


def test_a_register_that_was_lost(home):
    with home.open_journal() as journal:
        charge(home, journal, study(), 1, pictures(1))
    shutil.rmtree(home.folder / "register")
    fails(home, "dataset", "it says which images were charged", "newest backup")


def test_what_a_study_of_images_means_for_the_patient_with_most(home):
    epsilon = composed_epsilon([study().cost_of(4)], 1e-5, group_size=2).pld
    assert diagnoses(home)["patients"].found == (
        f"8; for the one with most images, all 2 of them together, small costs epsilon {epsilon:.4g} "
        "(not to be passed on)"
    )
    approve(home, study(('unit = "image"', PATIENTS), ("A = 16", "A = 8")))
    assert "patients" not in diagnoses(home)


def test_a_copy_of_an_image_is_no_unit(home, smears, tmp_path):
    copy = own_images(home, smears, tmp_path)
    manifest = copy / MANIFEST_NAME
    header, *rows = manifest.read_text().splitlines()
    first = rows[0].split(",")
    again = first[0].replace(".png", "-again.png")
    shutil.copy(copy / first[0], copy / again)
    manifest.write_text("\n".join([header, *rows, ",".join([again, *first[1:]])]) + "\n")
    found = diagnoses(home)
    assert found["images"].found.startswith("17 in ")
    assert found["units"].found == "16 images found, 16 declared in small"


@pytest.mark.parametrize(("on_bad", "health"), [("refuse", Health.FAIL), ("skip", Health.WARN)])
def test_an_image_that_cannot_be_read(home, smears, tmp_path, on_bad, health):
    copy = own_images(home, smears, tmp_path)
    spoilt = min(copy.glob("Benign/*.png"))
    spoilt.write_bytes(b"no image")
    configure(home, 'on_bad_image = "refuse"', f'on_bad_image = "{on_bad}"')
    found = diagnoses(home)
    assert found["unusable images"].health is health
    assert spoilt.name in found["unusable images"].found
    assert found["changed images"].health is Health.FAIL


def test_more_images_than_declared(home):
    approve(home, study(("A = 16", "A = 20")))
    found = diagnoses(home)["units"]
    assert found.health is Health.WARN
    assert found.found == "16 images found, 20 declared in small"


def test_a_study_of_patients_needs_their_ids(home, smears, tmp_path):
    patients = study(('unit = "image"', PATIENTS), ("A = 16", "A = 8"))
    approve(home, patients)
    assert diagnoses(home)["units"].found == "8 patients found, 8 declared in small"
    manifest = own_images(home, smears, tmp_path) / MANIFEST_NAME
    header, *rows = manifest.read_text().splitlines()
    drop = [header.split(",").index(column) for column in ("patient_id", "slide")]
    kept = [
        ",".join("" if place in drop else cell for place, cell in enumerate(row.split(","))) for row in rows
    ]
    manifest.write_text("\n".join([header, *kept]) + "\n")
    fails(home, "units", "16 images name no patient", "fill the column patient_id")


def test_the_same_file_and_patient_on_both_sides(home, smears, tmp_path):
    copy = own_images(home, smears, tmp_path)
    manifest = copy / MANIFEST_NAME
    header, *rows = manifest.read_text().splitlines()
    columns = header.split(",")
    cells = dict(zip(columns, rows[0].split(","), strict=True))
    original = copy / cells["file"]
    shutil.copy(original, original.with_name("again.png"))
    cells |= {"file": str(original.with_name("again.png").relative_to(copy)), "split": "test"}
    manifest.write_text("\n".join([header, *rows, ",".join(cells[column] for column in columns)]) + "\n")
    found = diagnoses(home)
    assert found["images in train and test"].health is Health.WARN
    assert found["patients in train and test"].found == cells["patient_id"]
    assert "fedpriv data split" in found["patients in train and test"].fix
