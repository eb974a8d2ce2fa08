import pytest
from PIL import Image

from fedpriv.smears.check import Count, check_images
from fedpriv.smears.index import index_images

CLASSES = ("X", "Y")


@pytest.fixture
def check(class_folders):
    def run(manifest=None):
        if manifest:
            (class_folders / "manifest.csv").write_text(manifest)
        return check_images(index_images(class_folders, CLASSES))

    return run


def test_generated_smears_are_clean(smears):
    report = check_images(smears)
    assert report.clean
    assert sum(count.images for count in report.counts) == len(smears.entries)
    assert sum(count.sources for count in report.counts) == 16


def test_counts_without_a_manifest(check):
    assert check().counts == (Count(None, None, "X", 2, None), Count(None, None, "Y", 2, None))


def test_counts_by_hospital_split_and_class(check):
    rows = "X/a.png,X,A,test,1\nX/b.jpg,X,A,test,1\nY/c.bmp,Y,A,train,2\nY/d.tiff,Y,B,train,2\n"
    report = check("file,label,hospital,split,patient_id\n" + rows)
    assert report.clean
    assert report.counts == (
        Count("A", "test", "X", 2, 1),
        Count("A", "train", "Y", 1, 1),
        Count("B", "train", "Y", 1, 1),
    )


def test_bad_files_are_named(check, class_folders):
    (class_folders / "X" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    report = check()
    assert report.bad == ("X/a.png: not a JPEG, PNG, TIFF or BMP image",)
    assert not report.clean


def test_changed_files_are_named(check):
    report = check("file,label,sha256\nX/a.png,X,00\nY/c.bmp,Y,\n")
    assert report.changed == ("X/a.png",)
    assert not report.clean


def test_equal_files_on_both_sides_are_named(check, class_folders):
    (class_folders / "Y" / "c.bmp").write_bytes((class_folders / "X" / "a.png").read_bytes())
    rows = "file,label,split\nX/a.png,X,train\nX/b.jpg,X,train\nY/c.bmp,Y,{}\n"
    assert check(rows.format("test")).duplicates == (("X/a.png", "Y/c.bmp"),)
    assert check(rows.format("train")).clean
    assert check(rows.format("")).clean


def test_a_copy_in_another_format_is_a_copy(check, class_folders):
    with Image.open(class_folders / "X" / "a.png") as image:
        image.save(class_folders / "Y" / "c.bmp")
    rows = "X/a.png,X,train\nX/b.jpg,X,train\nY/c.bmp,Y,test\n"
    assert check(f"file,label,split\n{rows}").duplicates == (("X/a.png", "Y/c.bmp"),)


@pytest.mark.parametrize(("column", "finding"), [("group", "groups"), ("patient_id", "patients")])
def test_groups_and_patients_on_both_sides_are_named(check, column, finding):
    rows = "X/a.png,X,A,train,7\nX/b.jpg,X,A,test,7\nY/c.bmp,Y,{},test,8\nY/d.tiff,Y,A,train,8\n"
    header = f"file,label,hospital,split,{column}\n"
    same, apart = check(header + rows.format("A")), check(header + rows.format("B"))
    assert getattr(same, finding) == ("7", "8")
    assert getattr(apart, finding) == ("7",)
    assert not apart.clean


@pytest.mark.real_smears
def test_the_real_set_is_clean(real_smears):
    report = check_images(index_images(real_smears, ("Benign", "Early", "Pre", "Pro")))
    assert report.clean
    assert sum(count.images for count in report.counts) == 2726
