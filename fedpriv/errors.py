"""Every error a user of fedpriv can meet.

    FedprivError                    base; ``exit_code`` 1
    ├── InputError                  what the user gave is wrong; exit code 2
    │   ├── StudyError              a study file
    │   ├── IdentityError           a key file, a request, a roster, a certificate
    │   ├── ImageError              an image, a folder or a manifest of images
    │   ├── HomeError               node.toml, coordinator.toml, a run or a model folder
    │   └── BundleError             a bundle
    ├── Refused                     the answer is no, by a rule; exit code 1
    │   ├── PolicyRefused           a hospital's policy or budget says no
    │   └── ProtocolRefused         a message of the masked sum breaks a rule of the protocol
    ├── RoundFailed                 a round ended without a sum; nothing was learned from it
    ├── JournalCorrupt              a journal does not verify
    └── Unreachable                 the coordinator does not answer

The message is one line: what is wrong and where. The hint is one line: what to do about it.
Neither may hold a secret, nor anything computed from a patient's image.
"""

from __future__ import annotations


class FedprivError(Exception):
    """Base of every error that is shown to a user as one line, without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(FedprivError):
    """What the user gave is wrong; nothing was written."""

    exit_code = 2


class StudyError(InputError):
    """A study file breaks a rule."""


class IdentityError(InputError):
    """A key, a request, a roster or a certificate cannot be used."""


class ImageError(InputError):
    """An image, a folder of images or a manifest cannot be used."""


class HomeError(InputError):
    """A home folder, a run or a model folder is missing something or holds something wrong."""


class BundleError(InputError):
    """A bundle is no bundle, or cannot be made."""


class Refused(FedprivError):
    """The answer is no, by a rule that the message names."""


class PolicyRefused(Refused):
    """A hospital's own policy or budget refuses."""


class ProtocolRefused(Refused):
    """A message breaks a rule of the masked sum; the receiver sends nothing."""


class RoundFailed(FedprivError):
    """A round ended without a sum; nothing was learned from it."""


class JournalCorrupt(FedprivError):
    """A journal does not verify."""


class Unreachable(FedprivError):
    """The other side does not answer."""
