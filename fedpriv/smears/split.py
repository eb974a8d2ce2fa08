"""Split images into hospitals, train and test, so that nothing related lies on both sides.

Images are tied together by the patient (or the slide that stands in), by the group of nearly equal fields,
and by equal files. What is tied, directly or through others, moves as one *block*. The order of blocks is
drawn by hashing, so the same images and seed give the same split everywhere, in any order of the files.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from fedpriv.errors import ImageError
from fedpriv.smears.manifest import Entry, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Tie(StrEnum):
    """What must stay together: all images of a patient, or only nearly equal fields."""

    PATIENT = "patient"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class _Block:
    """Positions of images that must not be separated; ``rank`` is the place among blocks of its label."""

    label: str
    rank: tuple[bytes, bytes]
    positions: tuple[int, ...]


def split_train_test(
    entries: Sequence[Entry],
    *,
    tie: Tie,
    test_fraction: float,
    seed: int,
) -> tuple[Entry, ...]:
    """Assign every image to train or test, about ``test_fraction`` of each class and hospital to test.

    Blocks of a class pass by, hospital after hospital in an order drawn for the class. A block goes to test
    once its class owes the test set at least half of it, so a class is off by half a block at most.
    """
    assigned = list(entries)
    owed: dict[str, float] = defaultdict(float)
    for block in _blocks(entries, tie, seed):
        size = len(block.positions)
        owed[block.label] += test_fraction * size
        split = Split.TEST if owed[block.label] >= size / 2 else Split.TRAIN
        if split is Split.TEST:
            owed[block.label] -= size
        for position in block.positions:
            assigned[position] = replace(entries[position], split=split)
    return tuple(assigned)


def split_hospitals(
    entries: Sequence[Entry],
    *,
    tie: Tie,
    hospitals: Sequence[str],
    seed: int,
) -> tuple[Entry, ...]:
    """Assign every image to one of ``hospitals``: each block, large ones first, where its class is rarest."""
    assigned = list(entries)
    of_class: dict[tuple[str, str], int] = defaultdict(int)
    in_all: dict[str, int] = defaultdict(int)
    blocks = _blocks([replace(entry, hospital=None) for entry in entries], tie, seed)
    for block in sorted(blocks, key=lambda block: -len(block.positions)):
        chosen = min(hospitals, key=lambda name: (of_class[name, block.label], in_all[name]))
        of_class[chosen, block.label] += len(block.positions)
        in_all[chosen] += len(block.positions)
        for position in block.positions:
            assigned[position] = replace(entries[position], hospital=chosen)
    return tuple(assigned)


def _blocks(entries: Sequence[Entry], tie: Tie, seed: int) -> list[_Block]:
    """Connected images, found by union-find over what they share."""
    parent = list(range(len(entries)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    if tie is Tie.PATIENT:
        for entry in entries:
            if entry.source is None:
                raise ImageError(
                    f"{entry.path} names neither patient nor slide, so patients cannot be kept together",
                    hint="fill the column patient_id of the manifest, or split by group",
                )
    first_with: dict[tuple[str, ...], int] = {}
    for position, entry in enumerate(entries):
        for bond in _bonds(entry, tie):
            parent[root(position)] = root(first_with.setdefault(bond, position))
    members: dict[int, list[int]] = defaultdict(list)
    for position in range(len(entries)):
        members[root(position)].append(position)
    return sorted(
        (_block(entries, positions, seed) for positions in members.values()),
        key=lambda block: (block.label, block.rank),
    )


def _bonds(entry: Entry, tie: Tie) -> Iterable[tuple[str, ...]]:
    # Two hospitals may both number their patients and groups from 1: those are different people.
    hospital = entry.hospital or ""
    if entry.sha256:
        yield "file", entry.sha256
    if entry.group:
        yield "group", hospital, entry.group
    if tie is Tie.PATIENT and entry.source:
        yield "source", hospital, entry.source


def _block(entries: Sequence[Entry], positions: list[int], seed: int) -> _Block:
    first = min((entries[position] for position in positions), key=lambda entry: entry.path)
    rank = _draw(seed, first.label, first.hospital or ""), _draw(seed, str(first.path))
    return _Block(first.label, rank, tuple(positions))


def _draw(seed: int, *name: str) -> bytes:
    """A fixed pseudo-random value for ``name``; this orders public file names and protects nobody."""
    return hashlib.sha256("\0".join((str(seed), *name)).encode()).digest()
