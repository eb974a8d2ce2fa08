from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import ImageError
from fedpriv.smears.index import index_images
from fedpriv.smears.manifest import Entry, Split
from fedpriv.smears.split import Tie, split_hospitals, split_train_test


def make(n_patients, images_each, classes=("X", "Y"), hospitals=("A",)):
    return [
        Entry(
            PurePosixPath(f"{label}/{hospital}-{patient}-{image}.png"),
            label,
            hospital=hospital,
            patient=f"{label}{patient}",
            group=f"{label}{patient}-{image}",
        )
        for hospital in hospitals
        for label in classes
        for patient in range(n_patients)
        for image in range(images_each)
    ]


def split(entries, tie=Tie.PATIENT, test_fraction=0.2, seed=0):
    return split_train_test(entries, tie=tie, test_fraction=test_fraction, seed=seed)


def deal(entries, names, tie=Tie.PATIENT, seed=0):
    return split_hospitals(entries, tie=tie, hospitals=names, seed=seed)


def sides(entries, attribute, place="split"):
    found = defaultdict(set)
    for entry in entries:
        found[getattr(entry, attribute)].add(getattr(entry, place))
    found.pop(None, None)
    return found


tied = st.lists(
    st.builds(
        Entry,
        path=st.integers(0, 10**9).map(lambda n: PurePosixPath(f"X/{n}.png")),
        label=st.sampled_from(["X", "Y", "Z"]),
        patient=st.integers(0, 12).map(str),
        group=st.none() | st.integers(0, 20).map(str),
        sha256=st.none() | st.integers(0, 30).map(str),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda entry: entry.path,
)


@given(entries=tied, tie=st.sampled_from(Tie), fraction=st.floats(0, 1), seed=st.integers())
def test_nothing_that_is_tied_is_ever_separated(entries, tie, fraction, seed):
    assigned = split(entries, tie, fraction, seed)
    attributes = ["group", "sha256"] + (["patient"] if tie is Tie.PATIENT else [])
    for attribute in attributes:
        assert all(len(found) == 1 for found in sides(assigned, attribute).values())
    assert [replace(entry, split=None) for entry in assigned] == entries
    assert all(entry.split is not None for entry in assigned)


@given(entries=tied, tie=st.sampled_from(Tie), n=st.integers(1, 5), seed=st.integers())
def test_nothing_that_is_tied_is_dealt_to_two_hospitals(entries, tie, n, seed):
    names = tuple("ABCDE"[:n])
    assigned = deal(entries, names, tie, seed)
    for attribute in ["group", "sha256"] + (["patient"] if tie is Tie.PATIENT else []):
        assert all(len(found) == 1 for found in sides(assigned, attribute, "hospital").values())
    assert {entry.hospital for entry in assigned} <= set(names)


@given(entries=tied, order=st.randoms(use_true_random=False))
def test_the_order_of_the_files_does_not_matter(entries, order):
    shuffled = list(entries)
    order.shuffle(shuffled)
    by_path = {entry.path: entry for entry in split(shuffled)}
    assert tuple(by_path[entry.path] for entry in entries) == split(entries)


def test_ties_reach_through_others():
    a, b, c = (Entry(PurePosixPath(name), "X", patient=name) for name in ("a", "b", "c"))
    chained = [replace(a, group="1"), replace(b, group="1", sha256="f"), replace(c, sha256="f")]
    for fraction in (0.1, 0.5, 0.9):
        assert len({entry.split for entry in split(chained, test_fraction=fraction)}) == 1


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 1.0])
def test_each_class_is_off_by_half_a_patient_at_most(fraction):
    assigned = split(make(15, 4, hospitals=("A", "B", "C")), test_fraction=fraction)
    in_test = Counter(entry.label for entry in assigned if entry.split is Split.TEST)
    for label in ("X", "Y"):
        assert abs(in_test[label] - fraction * 180) <= 2


def test_every_hospital_gets_its_share_of_the_test_set():
    assigned = split(make(20, 3, hospitals=("A", "B", "C")))
    in_test = Counter((entry.hospital, entry.label) for entry in assigned if entry.split is Split.TEST)
    assert set(in_test.values()) <= {9, 12, 15}
    assert len(in_test) == 6


def test_another_seed_gives_another_split_and_the_same_seed_the_same():
    entries = make(20, 2)
    assert split(entries, seed=1) == split(entries, seed=1)
    assert split(entries, seed=1) != split(entries, seed=2)
    assert deal(entries, "ABC", seed=1) == deal(entries, "ABC", seed=1)
    assert deal(entries, "ABC", seed=1) != deal(entries, "ABC", seed=2)


def test_hospitals_get_equal_shares_of_every_class():
    assigned = deal(make(12, 5), ("A", "B", "C"))
    assert set(Counter((entry.hospital, entry.label) for entry in assigned).values()) == {20}


def test_patients_with_one_name_in_two_hospitals_are_not_tied():
    entries = make(1, 4, classes=("X",), hospitals=("A", "B"))
    assigned = split(entries, test_fraction=0.5)
    assert {entry.split for entry in assigned} == set(Split)


def test_by_group_a_patient_may_be_on_both_sides():
    assigned = split(make(1, 10, classes=("X",)), Tie.GROUP, 0.5)
    assert Counter(entry.split for entry in assigned) == {Split.TRAIN: 5, Split.TEST: 5}


def test_patients_cannot_be_kept_together_if_an_image_names_none():
    entries = [Entry(PurePosixPath("X/a.png"), "X")]
    with pytest.raises(ImageError, match=r"X/a\.png names neither patient nor slide"):
        split(entries)
    assert split(entries, Tie.GROUP, 1.0)[0].split is Split.TEST


@pytest.mark.real_smears
def test_real_slides_and_groups_stay_together(real_smears):
    entries = index_images(real_smears, ("Benign", "Early", "Pre", "Pro")).entries
    assigned = split(entries)
    for attribute in ("slide", "group"):
        assert all(len(found) == 1 for found in sides(assigned, attribute).values())
    assert 0.15 < sum(entry.split is Split.TEST for entry in assigned) / len(assigned) < 0.25
