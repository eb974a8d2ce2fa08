import hashlib
from pathlib import Path

import pytest

from fedpriv.errors import ImageError
from fedpriv.smears.index import index_images, with_digests
from fedpriv.smears.manifest import Split

CLASSES = ("X", "Y")


def paths(index):
    return [str(entry.path) for entry in index.entries]


def test_class_folders_are_listed_in_order(class_folders):
    index = index_images(class_folders, CLASSES)
    assert paths(index) == ["X/a.png", "X/b.jpg", "Y/c.bmp", "Y/d.tiff"]
    assert [entry.label for entry in index.entries] == ["X", "X", "Y", "Y"]
    assert index.locate(index.entries[0]) == class_folders / "X" / "a.png"


def test_the_order_of_classes_is_the_studys(class_folders):
    assert paths(index_images(class_folders, ("Y", "X")))[0] == "Y/c.bmp"


def test_hidden_files_and_other_suffixes_are_ignored(class_folders):
    for name in ("X/.hidden.png", "X/notes.txt", "X/Thumbs.db", "readme.md"):
        (class_folders / name).touch()
    (class_folders / ".cache").mkdir()
    assert len(index_images(class_folders, CLASSES).entries) == 4


def test_suffixes_may_be_capital(class_folders):
    (class_folders / "X" / "a.png").rename(class_folders / "X" / "A.PNG")
    assert paths(index_images(class_folders, CLASSES))[0] == "X/A.PNG"


def test_a_manifest_wins_over_the_folders(class_folders):
    (class_folders / "manifest.csv").write_text("file,label\nY/c.bmp,X\nX/a.png,Y\n")
    index = index_images(class_folders, CLASSES)
    assert [(str(entry.path), entry.label) for entry in index.entries] == [("Y/c.bmp", "X"), ("X/a.png", "Y")]


def test_no_such_folder(tmp_path):
    with pytest.raises(ImageError, match="no such folder of images"):
        index_images(tmp_path / "absent", CLASSES)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="no such folder of images"):
        index_images(tmp_path / "file", CLASSES)


def test_a_folder_that_cannot_be_read(class_folders, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ImageError, match=r"images: cannot be read \(Permission denied\)"):
        index_images(class_folders, CLASSES)


def test_a_missing_class_folder(class_folders):
    with pytest.raises(ImageError, match="no folder Z"):
        index_images(class_folders, (*CLASSES, "Z"))


def test_an_empty_class(class_folders):
    for path in (class_folders / "Y").iterdir():
        path.unlink()
    with pytest.raises(ImageError, match="class Y has no image"):
        index_images(class_folders, CLASSES)


def test_no_images_at_all(tmp_path):
    for label in CLASSES:
        (tmp_path / label).mkdir()
    with pytest.raises(ImageError, match="no images"):
        index_images(tmp_path, CLASSES)


def test_an_empty_class_in_a_manifest(class_folders):
    (class_folders / "manifest.csv").write_text("file,label\nX/a.png,X\n")
    with pytest.raises(ImageError, match="class Y has no image"):
        index_images(class_folders, CLASSES)


def test_a_mistyped_class_folder_is_refused(class_folders):
    (class_folders / "x").mkdir()
    with pytest.raises(ImageError, match="is none of the classes X, Y"):
        index_images(class_folders, CLASSES)


def test_a_folder_inside_a_class_is_refused(class_folders):
    (class_folders / "X" / "patient-1").mkdir()
    with pytest.raises(ImageError, match="a folder inside a class folder"):
        index_images(class_folders, CLASSES)


def test_selecting_by_hospital_and_split(smears):
    both = smears.select(hospital="A", split=Split.TRAIN)
    assert {(entry.hospital, entry.split) for entry in both.entries} == {("A", Split.TRAIN)}
    parts = [smears.select(hospital=name, split=split).entries for name in "AB" for split in Split]
    assert sum(map(len, parts)) == len(smears.entries)
    assert both.classes == smears.classes
    assert smears.select().entries == smears.entries


def test_selecting_nothing_is_an_error_that_says_what_was_asked(smears, class_folders):
    with pytest.raises(ImageError, match="no image of hospital Z and split test"):
        smears.select(hospital="Z", split=Split.TEST)
    with pytest.raises(ImageError, match="no image of split train"):
        index_images(class_folders, CLASSES).select(split=Split.TRAIN)


def test_digests_are_those_of_the_files(class_folders):
    index = with_digests(index_images(class_folders, CLASSES))
    first = index.entries[0]
    assert first.sha256 == hashlib.sha256((class_folders / "X" / "a.png").read_bytes()).hexdigest()
    assert len({entry.sha256 for entry in index.entries}) == 4


@pytest.mark.real_smears
def test_the_real_manifest_is_read(real_smears):
    index = index_images(real_smears, ("Benign", "Early", "Pre", "Pro"))
    assert len(index.entries) == 2726
    assert len(index.select(split=Split.TRAIN).entries) == 2176
    assert len({entry.slide for entry in index.entries}) == 88
