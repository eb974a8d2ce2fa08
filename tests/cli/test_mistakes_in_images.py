"""Folders, manifests and images that cannot be used, met by every command that looks at them."""

import pytest
from PIL import Image
from support.spoiling import edit, first_image_of

LOOKING = [
    ("data", "check", "smears"),
    ("data", "split", "smears", "--out", "other.csv"),
    ("model", "evaluate", "model", "--images", "smears"),
    ("demo", "--images", "smears", "--out", "out"),
    ("node", "start", "--home", "A"),
]


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
class TestImages:
    def test_no_such_folder(self, place, refused, command):
        (place / "smears").rename(place / "elsewhere")
        assert refused(*command).endswith("smears: no such folder of images")

    def test_a_file_in_the_place_of_the_folder(self, place, refused, command):
        (place / "smears").rename(place / "elsewhere")
        (place / "smears").write_text("")
        assert refused(*command).endswith("smears: no such folder of images")

    def test_an_empty_class(self, place, refused, command):
        (place / "smears" / "manifest.csv").unlink()
        for image in (place / "smears" / "Pro").iterdir():
            image.unlink()
        assert refused(*command).endswith("smears: class Pro has no image")

    def test_a_manifest_row_whose_file_is_missing(self, place, refused, command):
        image = first_image_of(place / "smears", "Early")
        rows = (place / "smears" / "manifest.csv").read_text().splitlines()
        (number,) = [n for n, row in enumerate(rows, start=1) if image.name in row]
        image.unlink()
        message = refused(*command)
        assert message.endswith(f"manifest.csv, row {number}: no such file Early/{image.name}")

    def test_a_manifest_that_is_no_utf_8(self, place, refused, command):
        manifest = place / "smears" / "manifest.csv"
        manifest.write_bytes(manifest.read_text().encode("utf-16"))
        assert "manifest.csv: cannot be read as a CSV file in UTF-8" in refused(*command)

    def test_a_manifest_with_a_mistyped_column(self, place, refused, command):
        edit(place / "smears" / "manifest.csv", "patient_id", "patientid")
        assert "column 'patientid' is unknown or repeated" in refused(*command)


def test_a_text_file_named_jpg(place, refused, fedpriv):
    (place / "A" / "note.jpg").write_text("not an image")
    image = first_image_of(place / "smears", "Pre")
    image.write_text("not an image")
    where = f"Pre/{image.name}: not a JPEG, PNG, TIFF or BMP image"
    assert refused("node", "start", "--home", "A").endswith(where)
    assert refused("model", "evaluate", "model", "--images", "smears").endswith(where)
    assert refused("model", "predict", "model", "A/note.jpg") == "note.jpg: " + where.partition(": ")[2]
    found = fedpriv("data", "check", "smears")
    assert found.code == 1  # looking for bad files is what the command is for
    assert f"found: {where}" in found.out


def test_an_image_too_small_to_be_a_smear(place, refused):
    Image.new("RGB", (8, 8)).save(first_image_of(place / "smears", "Pro"))
    assert "8 x 8 pixels, the smallest side allowed is 64" in refused("node", "start", "--home", "A")
