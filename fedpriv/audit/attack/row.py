"""One line of an attack's result, and when a rate contradicts what is claimed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scipy import stats

FALSE_ALARM = 1e-3
"""The probability that a rate contradicts a claim that holds."""


class Role(StrEnum):
    """What a row is for."""

    CONTROL = "control"
    """Nothing protects here: the attack must succeed, or the rows beside it show nothing."""
    SUBJECT = "subject"
    """What a study protects; the only kind of row that can contradict."""
    REFERENCE = "reference"
    """What an attacker comes to who knows nothing of the victim, or how far a part of the protection goes."""


@dataclass(frozen=True, slots=True)
class Row:
    """``holds`` is that the control succeeded, or that the claim was not contradicted.

    ``observed`` is what came of the attack and ``power`` the most that it could have shown, in words;
    ``figures`` the same in numbers.
    """

    attack: str
    subject: str
    role: Role
    observed: str
    power: str
    holds: bool
    figures: dict[str, float]

    @property
    def conclusion(self) -> str:
        """The row's last words."""
        match self.role:
            case Role.CONTROL:
                return "the attack works" if self.holds else "the attack fails: nothing is shown beside it"
            case Role.SUBJECT:
                found = "found no contradiction" if self.holds else "contradicts the claim"
                return f"{found}; could have shown up to {self.power}"
            case Role.REFERENCE:
                return "for comparison"


def least_rate(hits: int, trials: int, *, error: float = FALSE_ALARM) -> float:
    """The rate that ``hits`` of ``trials`` independent ones prove: Clopper and Pearson's lower bound.

    The true rate lies below it with probability at most ``error``.
    """
    return float(stats.beta.ppf(error, hits, trials - hits + 1)) if hits else 0.0
