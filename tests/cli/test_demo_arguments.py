"""What `fedpriv demo` is given is checked before anything is made, drawn or replaced."""

import pytest
from support.studies import FULL_BATCH, TEXT, study_text

from fedpriv.cli import demo
from fedpriv.smears.manifest import Split


@pytest.fixture
def older(place):
    """What an older demo left."""
    out = place / "out"
    out.mkdir()
    (out / ".fedpriv-demo").touch()
    (out / "model").write_text("of an hour's work")
    return out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--hospitals 1", "1 is not in the range x>=2"),
        ("--rounds 0", "0 is not in the range x>=1"),
        ("--images none", "none: no such folder of images"),
        ("--study none.toml", "none.toml cannot be read"),
        ("--images smears --hospitals 2", "smears: images of 3 hospitals, not of 2"),
        ("--study study.toml --hospitals 2", "there are no images of C, only of A, B"),
        ("--rounds 500001 --study study.toml", "rounds x local_steps = 1000002 steps"),
    ],
)
def test_a_mistake_does_not_cost_the_older_demo(refused, place, older, line, message):
    assert message in refused("demo", *line.split(), "--out", "out")


def test_images_without_a_manifest_belong_to_no_hospital(refused, place, older):
    (place / "smears" / "manifest.csv").unlink()
    assert refused("demo", "--images", "smears") == "smears: not every image belongs to a hospital"


def test_a_study_of_other_classes(refused, place, older):
    (place / "study.toml").write_text(study_text(FULL_BATCH, ('"Pro"', '"Blast"')))
    assert refused("demo", "--study", "study.toml") == (
        "the demo's classes are Benign, Early, Pre, Pro, not Benign, Early, Pre, Blast"
    )


def test_a_study_that_no_noise_can_meet(refused, place, older):
    (place / "study.toml").write_text(study_text(("delta = 1e-5", "delta = 1e-300")))
    assert "cannot be planned" in refused("demo", "--study", "study.toml")


@pytest.mark.parametrize("out", [".", "smears", "study.toml", "A"])
def test_only_a_folder_with_the_mark_is_ever_replaced(refused, place, out):
    assert refused("demo", "--out", out) == f"{out} exists and was not made by the demo"


def test_what_is_given_is_not_replaced(refused, place, older):
    (place / "smears").rename(older / "smears")
    (older / "study.toml").write_text(study_text(FULL_BATCH))
    (place / "link").symlink_to(older / "smears")
    for option, path in (("--images", "out/smears"), ("--images", "link"), ("--study", "out/study.toml")):
        assert refused("demo", option, path) == f"{path} lies in out, which is about to be replaced"


def test_an_out_that_cannot_be_made(refused, place):
    assert refused("demo", "--out", "study.toml/out") == "study.toml/out cannot be made: not a directory"


def test_an_older_demo_is_replaced_as_a_whole(older):
    demo._make_room(older, None)
    assert [path.name for path in older.iterdir()] == [".fedpriv-demo"]


def test_the_drafted_study_declares_what_the_hospitals_train_on(place):
    index = demo._given(place / "smears", None)
    drafted = demo._drafted(index)
    training = index.select(split=Split.TRAIN).entries
    assert drafted.hospitals == {
        name: sum(entry.hospital == name for entry in training) for name in ("A", "B", "C")
    }


def test_other_rounds_need_other_noise(place):
    (place / "study.toml").write_text(TEXT)
    drafted = demo._drafted(demo._given(place / "smears", None))
    noise = [demo._planned(drafted, rounds).noise_multiplier for rounds in (1, 2)]
    assert noise[0] < noise[1]
    planned = drafted.with_noise_multiplier(50.0)
    assert demo._planned(planned, None) is planned
