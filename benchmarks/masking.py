"""Masking and unmasking: fedpriv, its floor, and Flower's own SecAgg+ functions, interleaved in one run.

    python benchmarks/masking.py [--hospitals 5 20] [--parameters 100000] [--out measured/masking.json]

- *floor*: AES-CTR keystream into a buffer and additions, nothing else: what no masking can undercut.
- *fedpriv, hospital*: pair seeds (X25519 and HKDF), packing, all masks. "masks" is that without packing.
- *fedpriv, coordinator*: shares to secrets, checks, all masks removed, unpacking.
- *Flower*: the same work with the functions of the installed flwr, see flower_secagg.py.

Flower's cells that would run for minutes are measured on part of their masks and shares and scaled up,
since its cost is exactly linear in both; such times carry a "~" and ``"scaled": true``.
Every time is the median of the repetitions, in CPU seconds of this one process, so that other processes
do not blur it; on an idle machine they are wall-clock seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from flower_secagg import measured_masks, measured_secrets

from fedpriv.secagg.graph import draw_graph
from fedpriv.secagg.key_agreement import pair_mask, self_mask
from fedpriv.secagg.masks import CHUNK_BYTES, add_masks
from fedpriv.secagg.messages import Advertisement, Commitment, HeldShare, UnmaskShares
from fedpriv.secagg.ring import pack, unpack
from fedpriv.secagg.shares import split
from fedpriv.secagg.terms import RoundTerms, self_mask_digest
from fedpriv.secagg.unmasking import Unmasking

if TYPE_CHECKING:
    from collections.abc import Callable

HOSPITALS = (5, 20, 100)
PARAMETERS = (10**5, 10**6, 10**7)
DROPOUT_SHARES = (0.0, 0.1, 0.3)
CONTEXT = bytes(32)


@dataclass
class Cell:
    """Seconds of one side in one setting."""

    side: str
    hospitals: int
    parameters: int
    dropouts: int
    floor_s: float
    fedpriv_s: float
    masks_s: float
    flower_s: float
    scaled: bool
    upload_bytes_per_parameter: float


def seconds(work: Callable[[], object]) -> float:
    """The CPU seconds that ``work`` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def floor(words: np.ndarray, seeds: list[bytes]) -> None:
    """Keystream into a buffer, added to the words: the same traffic as add_masks, and no more."""
    streams = [Cipher(AES256(seed), CTR(bytes(16))).encryptor() for seed in seeds]
    zeros, buffer = bytes(CHUNK_BYTES), bytearray(CHUNK_BYTES + 16)
    step = CHUNK_BYTES // 8
    for start in range(0, words.size, step):
        chunk = words[start : start + step]
        keystream = np.frombuffer(buffer, dtype=np.uint64, count=chunk.size)
        plaintext = memoryview(zeros)[: chunk.nbytes]
        for stream in streams:
            stream.update_into(plaintext, buffer)
            np.add(chunk, keystream, out=chunk)


class Setting:
    """The keys, shares and answers of one federation, made once."""

    def __init__(self, hospitals: int, parameters: int, dropouts: int) -> None:
        names = tuple(f"h{i:03d}" for i in range(hospitals))
        threshold = hospitals * 2 // 3 + 1
        self.terms = RoundTerms(
            run=bytes(16),
            round=1,
            roster_digest=bytes(32),
            study_digest=bytes(32),
            hospitals=names,
            threshold=threshold,
            colluders=0,
            dropouts=hospitals - threshold,
            smallest_cohort=threshold,
            parameters=parameters,
        )
        self.dropped = names[hospitals - dropouts :]
        self.survivors = names[: hospitals - dropouts]
        self.keys = {name: X25519PrivateKey.generate() for name in names}
        self.seeds = {name: secrets.token_bytes(32) for name in names}
        self.publics = {name: key.public_key().public_bytes_raw() for name, key in self.keys.items()}
        self.values = np.random.default_rng(1).integers(0, 2**16, parameters)

    def unmasking(self) -> Unmasking:
        """What a coordinator holds when the last answer is in."""
        names, terms = self.terms.hospitals, self.terms
        xs = list(range(1, len(names) + 1))
        self_shares = {o: split(self.seeds[o], terms.threshold, xs) for o in self.survivors}
        key_shares = {o: split(self.keys[o].private_bytes_raw(), terms.threshold, xs) for o in self.dropped}
        answers = {
            holder: UnmaskShares(
                holder,
                CONTEXT,
                tuple(HeldShare(owner, shares[i]) for owner, shares in self_shares.items()),
                tuple(HeldShare(owner, shares[i]) for owner, shares in key_shares.items()),
            )
            for i, holder in enumerate(names)
            if holder in self.survivors
        }
        return Unmasking(
            terms=terms,
            graph=draw_graph(terms, names, CONTEXT),
            cohort=CONTEXT,
            context=CONTEXT,
            advertisements={
                o: Advertisement(o, bytes(16), 1, *[bytes(32)] * 4, self.publics[o], bytes(32)) for o in names
            },
            commitments={
                owner: Commitment(owner, CONTEXT, self_mask_digest(seed, owner, CONTEXT), bytes(32))
                for owner, seed in self.seeds.items()
            },
            survivors=frozenset(self.survivors),
            answers=answers,
        )

    def own_masks(self, own: str) -> list:
        """All masks of one hospital, key agreement included."""
        peers = (peer for peer in self.terms.hospitals if peer != own)
        pairs = [pair_mask(self.keys[own], self.publics[peer], own, peer, CONTEXT) for peer in peers]
        return [self_mask(self.seeds[own], own, CONTEXT), *pairs]


def hospital_cell(hospitals: int, parameters: int, repetitions: int) -> Cell:
    """One hospital masks one update for all the others."""
    setting = Setting(hospitals, parameters, 0)
    own, terms = setting.terms.hospitals[0], setting.terms
    packed = pack(setting.values, terms.layout)
    seeds = [os.urandom(32) for _ in range(hospitals)]
    times: dict[str, list[float]] = {"floor": [], "fedpriv": [], "masks": [], "flower": []}
    scaled = False
    for _ in range(repetitions):
        words = packed.copy()
        times["floor"].append(seconds(lambda words=words: floor(words, seeds)))
        words = packed.copy()
        times["masks"].append(seconds(lambda words=words: add_masks(words, setting.own_masks(own))))
        times["fedpriv"].append(
            seconds(lambda: add_masks(pack(setting.values, terms.layout), setting.own_masks(own)))
        )
        flower, scaled = measured_masks(seconds, setting.values, 1, hospitals - 1)
        times["flower"].append(flower)
    return cell("hospital", setting, times, scaled=scaled)


def coordinator_cell(hospitals: int, parameters: int, dropouts: int, repetitions: int) -> Cell:
    """The coordinator opens one sum."""
    setting = Setting(hospitals, parameters, dropouts)
    terms, unmasking = setting.terms, setting.unmasking()
    survivors = len(setting.survivors)
    count = survivors + dropouts * survivors
    seeds = [os.urandom(32) for _ in range(count)]
    words = np.zeros(terms.words, dtype=np.uint64)
    times: dict[str, list[float]] = {"floor": [], "fedpriv": [], "masks": [], "flower": []}
    scaled = False

    def open_sum() -> None:
        add_masks(words, unmasking.masks())
        unpack(words, parameters, terms.layout)

    for _ in range(repetitions):
        times["floor"].append(seconds(lambda: floor(words, seeds)))
        times["fedpriv"].append(seconds(open_sum))
        times["masks"].append(seconds(unmasking.masks))
        # Flower's neighbours include the other dropped hospitals.
        pairs = dropouts * (hospitals - 1)
        flower, masks_scaled = measured_masks(seconds, setting.values, survivors, pairs)
        combined, secrets_scaled = measured_secrets(
            seconds, hospitals=hospitals, threshold=terms.threshold, survivors=survivors
        )
        times["flower"].append(flower + combined)
        scaled = masks_scaled or secrets_scaled
    return cell("coordinator", setting, times, scaled=scaled)


def cell(side: str, setting: Setting, times: dict[str, list[float]], *, scaled: bool) -> Cell:
    """The medians."""
    median = {name: statistics.median(values) for name, values in times.items()}
    return Cell(
        side=side,
        hospitals=len(setting.terms.hospitals),
        parameters=setting.terms.parameters,
        dropouts=len(setting.dropped),
        floor_s=median["floor"],
        fedpriv_s=median["fedpriv"],
        masks_s=median["masks"],
        flower_s=median["flower"],
        scaled=scaled,
        upload_bytes_per_parameter=8 * setting.terms.words / setting.terms.parameters,
    )


def row(cell: Cell) -> str:
    """One line of the table."""
    masks = f"{cell.masks_s / cell.floor_s:5.2f}" if cell.side == "hospital" else "    -"
    return (
        f"{cell.side:<11} {cell.hospitals:>4} {cell.parameters:>9,} {cell.dropouts:>5} "
        f"{1000 * cell.floor_s:>10.1f} {1000 * cell.fedpriv_s:>10.1f} "
        f"{masks} {cell.fedpriv_s / cell.floor_s:>6.2f} "
        f"{'~' if cell.scaled else ' '}{1000 * cell.flower_s:>11.1f} {cell.flower_s / cell.fedpriv_s:>8.1f} "
        f"{cell.upload_bytes_per_parameter:>8.3f}"
    )


HEADER = (
    "side           n         d  lost   floor ms fedpriv ms masks  whole    Flower ms  Flower/  bytes a\n"
    "                                                       /floor /floor              fedpriv  parameter"
)


def main() -> None:
    """Run every setting, print each as it is done, write them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hospitals", type=int, nargs="+", default=HOSPITALS)
    parser.add_argument("--parameters", type=int, nargs="+", default=PARAMETERS)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("measured/masking.json"))
    options = parser.parse_args()
    print(HEADER)
    cells = []
    for parameters in options.parameters:
        for hospitals in options.hospitals:
            settings = [lambda n=hospitals, d=parameters: hospital_cell(n, d, options.repetitions)]
            for lost in sorted({int(share * hospitals) for share in DROPOUT_SHARES}):
                heavy = hospitals * parameters * (1 + lost) > 10**10
                repetitions = 1 if heavy else options.repetitions
                settings.append(
                    lambda n=hospitals, d=parameters, k=lost, r=repetitions: coordinator_cell(n, d, k, r)
                )
            for measure in settings:
                cells.append(measure())
                print(row(cells[-1]), flush=True)
    report = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "cells": [asdict(entry) for entry in cells],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
