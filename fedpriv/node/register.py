"""Which images and patients each dataset name stands for, so that another name is no other budget.

On disk: ``register/DIGEST`` (0600) in the hospital's home. Every charge in the journal names, by its SHA-256,
the register that it was made under: a lost or changed one is found, and a charge says to what it went.

*Rule*: an image belongs to the first dataset name that was charged for it, and so does a patient. Another
name with one of them in it is refused. Images that are added to a dataset share its budget, whatever is spent
of it already; images that are taken away stay charged under its name.

*What leaves*: nothing. Digests of images and patients are keyed (HMAC-SHA256) with 32 random bytes that lie
in the same file. So the SHA-256 in a journal row, which an auditor may see, tells nothing about an image to
whoever lacks the file, not even whether a known image is in it, nor how many there are; it tells when images
were added.

*Limits*: copies are recognised by their decoded pixels. An image that was compressed anew, cropped or
recoloured is another image, and only its patient gives it away. A second home knows nothing of the first.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

import msgspec

from fedpriv.errors import HomeError
from fedpriv.identity.private_files import FOLDER_MODE, sync_folder, write_private_file
from fedpriv.node.events import Reserve
from fedpriv.node.policy import Declined
from fedpriv.secagg.refusal import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fedpriv.node.chain import Row
    from fedpriv.smears.load import Picture

REGISTER_FOLDER = "register"

_KEY_BYTES = 32
_IMAGE_LABEL, _PATIENT_LABEL = b"image", b"patient"


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one dataset name stands for, as keyed digests of 32 bytes.

    ``patients`` holds the images of each patient; ``images`` all of them, also those of no known patient.
    """

    images: frozenset[bytes] = frozenset()
    patients: dict[bytes, frozenset[bytes]] = {}

    @property
    def most_images_of_a_patient(self) -> int:
        """How many images the patient with most of them has; 0 if no patient is known."""
        return max(map(len, self.patients.values()), default=0)


class Register(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The datasets that were charged, each with its images; ``key`` is the digests'."""

    key: bytes
    datasets: dict[str, Bound]

    def of(self, dataset: str) -> Bound:
        """What ``dataset`` stands for; nothing, if it was never charged."""
        return self.datasets.get(dataset, Bound())

    def enter(self, dataset: str, pictures: Sequence[Picture]) -> Register:
        """The register with ``pictures`` among the images of ``dataset``; Declined if another name has one.

        The message holds no number: it goes into the journal.
        """
        known = self.of(dataset)
        images, patients = set(known.images), dict(known.patients)
        for picture in pictures:
            image = self._digest(_IMAGE_LABEL, picture.content)
            images.add(image)
            if picture.person is not None:
                patient = self._digest(_PATIENT_LABEL, msgspec.msgpack.encode(picture.person))
                patients[patient] = patients.get(patient, frozenset()) | {image}
        for name, other in self.datasets.items():
            shared = "images" if other.images & images else "patients"
            if name != dataset and (other.images & images or other.patients.keys() & patients.keys()):
                raise Declined(
                    RefusalCode.POLICY,
                    f"the budget of {name} was charged for {shared} that are in {dataset} now",
                    hint=f'name = "{name}" in [dataset] of node.toml: images that are added share its budget',
                )
        return Register(self.key, {**self.datasets, dataset: Bound(frozenset(images), patients)})

    def _digest(self, label: bytes, content: bytes) -> bytes:
        return hmac.digest(self.key, label + b":" + content, "sha256")


def load_register(home: Path, rows: Sequence[Row]) -> Register:
    """The register that the last charge in ``rows`` names, a new one if there is none; HomeError if lost."""
    digest = _last_digest(rows)
    if digest is None:
        return Register(secrets.token_bytes(_KEY_BYTES), {})
    path = home / REGISTER_FOLDER / digest.hex()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HomeError(
            f"{path} cannot be read: {error.strerror}; it says which images were charged",
            hint="restore the home from its newest backup, as a whole",
        ) from error
    if hashlib.sha256(content).digest() != digest:
        raise HomeError(
            f"{path} was changed: it is not what the journal names",
            hint="restore the home from its newest backup, as a whole",
        )
    return msgspec.msgpack.decode(content, type=Register)


def save_register(home: Path, rows: Sequence[Row], register: Register) -> bytes:
    """Put ``register`` on the disk, beside the one that the last charge names; its SHA-256 (32 bytes).

    Equal registers have equal digests. Others, which no charge came to name, are deleted.
    """
    content = _encode(register)
    digest = hashlib.sha256(content).digest()
    folder = home / REGISTER_FOLDER
    kept = {found.hex() for found in (digest, _last_digest(rows)) if found is not None}
    try:
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()
        if not (folder / digest.hex()).exists():
            draft = folder / f".{digest.hex()}"
            write_private_file(draft, content)
            draft.rename(folder / digest.hex())
            sync_folder(folder)
            sync_folder(home)
    except OSError as error:
        raise HomeError(f"{folder} cannot be written: {error.strerror}") from error
    return digest


def _last_digest(rows: Sequence[Row]) -> bytes | None:
    return next((row.event.register for row in reversed(rows) if isinstance(row.event, Reserve)), None)


def _encode(register: Register) -> bytes:
    """Sets and tables in sorted order, so that equal registers are equal bytes."""
    return msgspec.msgpack.encode(
        {
            "key": register.key,
            "datasets": {
                name: {
                    "images": sorted(bound.images),
                    "patients": {
                        patient: sorted(images) for patient, images in sorted(bound.patients.items())
                    },
                }
                for name, bound in sorted(register.datasets.items())
            },
        }
    )
