"""Charging a dataset as a node does: its images in the register first, then the row in the journal."""

import hashlib

from fedpriv.node.budget import reserve
from fedpriv.node.register import load_register, save_register
from fedpriv.smears.load import Picture


def pictures(*numbers, person=None):
    """Made-up images, one a number; equal numbers, equal pixels."""
    return [Picture(hashlib.sha256(str(number).encode()).digest(), person) for number in numbers]


def charge(home, journal, study, number, images):
    """Round ``number`` of ``study``, charged to the dataset of ``home`` for ``images``."""
    dataset = home.config.dataset.name
    register = load_register(home.folder, journal.rows).enter(dataset, images)
    reserve(
        journal,
        dataset,
        study,
        home.config.policy,
        run=b"r" * 16,
        round_number=number,
        register=save_register(home.folder, journal.rows, register),
    )
