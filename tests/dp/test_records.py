"""Taking records by number."""

import numpy as np

from fedpriv.dp.records import HeldRecords
from fedpriv.dp.sampling import ABSENT


def test_records_are_taken_by_number():
    images = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    labels = np.array([3, 1, 2, 5], np.int32)
    places = np.array([[2, 0], [3, 3]], np.int32)
    taken, of_taken, present = HeldRecords(images, labels).take(places)
    np.testing.assert_array_equal(taken, images[places])
    np.testing.assert_array_equal(of_taken, labels[places])
    np.testing.assert_array_equal(present, np.ones((2, 2)))
    assert (taken.dtype, of_taken.dtype, present.dtype) == ("float32", "int32", "float32")


def test_an_absent_place_is_blank_whatever_the_records_are():
    held = HeldRecords(np.full((2, 3), np.nan, np.float32), np.array([7, 7], np.int32))
    images, labels, present = held.take(np.array([[ABSENT, ABSENT]], np.int32))
    assert not images.numpy().any()
    assert not labels.numpy().any()
    assert not present.numpy().any()


def test_what_is_changed_outside_later_is_not_seen():
    images, labels = np.ones((2, 3), np.float32), np.ones(2, np.int32)
    held = HeldRecords(images, labels)
    images[:] = labels[:] = 0
    assert held.take(np.array([[1]], np.int32))[0].numpy().all()
