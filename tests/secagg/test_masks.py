"""Masks cancel, cover every word and are the cipher's keystream."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from fedpriv.secagg.masks import CHUNK_BYTES, Mask, add_masks

CHUNK_WORDS = CHUNK_BYTES // 8


@pytest.mark.parametrize(
    "size", [0, 1, 7, CHUNK_WORDS - 1, CHUNK_WORDS, CHUNK_WORDS + 1, 3 * CHUNK_WORDS + 5]
)
def test_one_mask_is_the_keystream(size):
    words = np.zeros(size, dtype=np.uint64)
    add_masks(words, [Mask(b"k" * 32)])
    assert words.tobytes() == Cipher(AES256(b"k" * 32), CTR(bytes(16))).encryptor().update(bytes(8 * size))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_masks_and_their_negatives_cancel(count):
    before = np.arange(2 * CHUNK_WORDS + 3, dtype=np.uint64)
    words = before.copy()
    masks = [Mask(bytes([i]) * 32, negative=i % 2 == 0) for i in range(count)]
    add_masks(words, masks)
    assert (words != before).mean() > 0.999
    add_masks(words, [mask.negated() for mask in masks])
    np.testing.assert_array_equal(words, before)


def test_no_masks_change_nothing():
    words = np.arange(5, dtype=np.uint64)
    add_masks(words, [])
    np.testing.assert_array_equal(words, np.arange(5))


def test_a_seed_is_never_printed():
    assert "kkk" not in repr(Mask(b"k" * 32))
