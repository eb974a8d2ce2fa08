from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import ImageError
from fedpriv.smears.manifest import COLUMNS, Entry, Split, read_manifest, write_manifest

CLASSES = ("X", "Y")


@pytest.fixture
def folder(tmp_path):
    for name in ("X/a.png", "Y/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def read(folder, text):
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    return read_manifest(folder, CLASSES)


def refusal(folder, text):
    with pytest.raises(ImageError) as caught:
        read(folder, text)
    return caught.value.message


def test_two_columns_are_enough(folder):
    assert read(folder, "file,label\nX/a.png,X\n") == [Entry(PurePosixPath("X/a.png"), "X")]


def test_all_columns_are_read_in_any_order(folder):
    text = "patient_id,sha256,split,hospital,slide,group,label,file\np1,ab,test,A,s1,g1,Y,Y/b.png\n"
    assert read(folder, text) == [
        Entry(PurePosixPath("Y/b.png"), "Y", "A", Split.TEST, "p1", "s1", "g1", "ab"),
    ]


def test_empty_values_are_absent(folder):
    (entry,) = read(folder, ",".join(COLUMNS) + "\nX/a.png,X,,,,,,\n")
    assert entry == Entry(PurePosixPath("X/a.png"), "X")


def test_the_mark_that_spreadsheets_put_first_is_no_part_of_a_column(folder):
    assert len(read(folder, "\ufefffile,label\nX/a.png,X\n")) == 1


def test_the_source_is_the_patient_and_else_the_slide():
    path = PurePosixPath("a")
    assert Entry(path, "X", patient="p", slide="s").source == "p"
    assert Entry(path, "X", slide="s").source == "s"
    assert Entry(path, "X").source is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,label\nX/a.png,X\nX/z.png,X\n", "row 3: no such file X/z.png"),
        ("file,label\nX/a.png,Z\n", "row 2: label 'Z' is none of X, Y"),
        ("file,label\nX/a.png,X\nX/a.png,X\n", "row 3: X/a.png is listed in row 2 already"),
        ("file,label\nX/a.png,X\nX/./a.png,X\n", "row 3: X/a.png is listed in row 2 already"),
        ("file,label\n../a.png,X\n", "row 2: '../a.png' is not a path below the folder"),
        ("file,label\nX/../../a.png,X\n", "row 2: 'X/../../a.png' is not a path below the folder"),
        ("file,label\n/etc/passwd,X\n", "row 2: '/etc/passwd' is not a path below the folder"),
        ("file,label\nX\\a.png,X\n", "is not a path below the folder"),
        ("file,label\n,X\n", "row 2: '' is not a path below the folder"),
        ("file,label\nX,X\n", "row 2: no such file X"),
        ("file,label,split\nX/a.png,X,validate\n", "row 2: split 'validate' is neither train nor test"),
        ("file,label\nX/a.png\n", "row 2: not as many values as the header has columns"),
        ("file,label\nX/a.png,X,A\n", "row 2: not as many values as the header has columns"),
        ("label\nX\n", "no column file"),
        ("file\nX/a.png\n", "no column label"),
        ("", "no column file"),
        ("file,label,patientid\nX/a.png,X,p1\n", "column 'patientid' is unknown or repeated"),
        ("file,label,label\nX/a.png,X,X\n", "column 'label' is unknown or repeated"),
        ('file,label\n"X/a.png,X\n', "cannot be read as a CSV file"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(folder, text, said):
    message = refusal(folder, text)
    assert said in message
    assert "\n" not in message


def test_a_file_that_is_not_text_is_refused(folder):
    (folder / "manifest.csv").write_bytes(b"file,label\n\xff\xfe\x00,X\n")
    with pytest.raises(ImageError, match="CSV file in UTF-8"):
        read_manifest(folder, CLASSES)


def test_a_link_to_outside_is_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    outside.touch()
    (folder / "X" / "link.png").symlink_to(outside)
    assert "link to outside" in refusal(folder, "file,label\nX/link.png,X\n")


words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8) | st.none()


@given(
    st.lists(
        st.builds(
            Entry,
            path=st.sampled_from(["X/a.png", "Y/b.png"]).map(PurePosixPath),
            label=st.sampled_from(CLASSES),
            hospital=words,
            split=st.sampled_from(Split) | st.none(),
            patient=words,
            slide=words,
            group=words,
            sha256=words,
        ),
        unique_by=lambda entry: entry.path,
    )
)
def test_what_is_written_is_read_back(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("round-trip")
    for entry in entries:
        (folder / entry.path).parent.mkdir(exist_ok=True)
        (folder / entry.path).touch()
    write_manifest(folder / "manifest.csv", entries)
    assert read_manifest(folder, CLASSES) == entries
    assert {path.name for path in folder.iterdir()} <= {"manifest.csv", *CLASSES}


def test_a_manifest_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ImageError, match="cannot be written"):
        write_manifest(tmp_path / "absent" / "manifest.csv", [])
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(ImageError, match="a file name is not text"):
        write_manifest(tmp_path / "manifest.csv", [Entry(PurePosixPath("X/\udcff.png"), "X")])
    assert list(tmp_path.iterdir()) == []
