"""What a dataset has spent, and whether it can afford another round: pure rules over journal rows.

The budget belongs to the dataset, named by its admin; `fedpriv.node.register` binds the name to its images,
so that no other name gives them another budget. It is charged before any gradient is computed, for every
study, run and coordinator alike, and never refunded: a crash between charge and release costs what the round
would have cost, and a retry, which draws fresh noise, is charged again.

*Formal guarantee*: at any moment the composition of all charges bounds what all vectors that were ever
released reveal about one unit of the dataset, since a vector is released only against a charge of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import PolicyRefused
from fedpriv.node.events import Approve, Release, Reserve
from fedpriv.node.policy import Declined, Policy
from fedpriv.plan import Spent, course
from fedpriv.secagg.refusal import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpriv.node.chain import Row
    from fedpriv.node.journal import Journal
    from fedpriv.study import Study


@dataclass(frozen=True, slots=True)
class Budget:
    """What ``dataset`` spent: ``epsilon`` at ``delta`` per ``unit`` in ``rounds`` charged rounds."""

    dataset: str
    unit: str | None
    epsilon: float
    delta: float
    largest_epsilon: float
    rounds: int


def reserve(
    journal: Journal,
    dataset: str,
    study: Study,
    policy: Policy,
    *,
    run: bytes,
    round_number: int,
    register: bytes,
) -> None:
    """Charge ``dataset`` one round of ``study``, on disk, before any gradient; Declined if it cannot pay.

    ``register`` is the SHA-256 of the one that holds the images which will be trained on.
    """
    check_round(journal.rows, dataset, study, policy)
    journal.append(
        Reserve(
            run=run,
            round=round_number,
            study_digest=study.digest,
            dataset=dataset,
            unit=study.privacy.unit,
            charge=study.cost_of(rounds=1),
            register=register,
        )
    )


def release(journal: Journal, vector_digest: bytes, *, run: bytes, round_number: int) -> None:
    """Note that the vector with this digest leaves, before it does.

    The same vector may leave again, since it reveals nothing new; another one needs a charge of its own.
    PolicyRefused if the round was not charged, or all its charges are used up.
    """
    events = [row.event for row in journal.rows]
    released = [
        event
        for event in events
        if isinstance(event, Release) and (event.run, event.round) == (run, round_number)
    ]
    if any(event.vector_digest == vector_digest for event in released):
        return
    charged = sum(
        isinstance(event, Reserve) and (event.run, event.round) == (run, round_number) for event in events
    )
    if len(released) >= charged:
        raise PolicyRefused(
            f"round {round_number} was charged {charged} times and has released {len(released)} vectors: "
            "nothing more may leave"
        )
    journal.append(Release(run, round_number, vector_digest))


def check_round(rows: Sequence[Row], dataset: str, study: Study, policy: Policy) -> None:
    """Return if ``dataset`` may be charged one more round of ``study``; Declined names the rule."""
    approvals = approvals_of(rows, study.digest)
    if not approvals:
        raise Declined(
            RefusalCode.STUDY_NOT_APPROVED,
            f"the study {study.study.name} ({study.digest.hex()[:16]}) is not approved here",
            hint="read it, then run `fedpriv node approve STUDY`",
        )
    charges = charges_of(rows, dataset)
    charged = sum(charge.study_digest == study.digest for charge in charges)
    granted = approvals * study.training.rounds
    if charged >= granted:
        raise Declined(
            RefusalCode.BUDGET_SPENT,
            f"the study {study.study.name} was approved for {granted} rounds and {charged} were charged",
            hint="failed rounds count; `fedpriv node approve STUDY --again` grants as many once more",
        )
    _check_unit(charges, dataset, study)
    after = _epsilon_after(charges, study, rounds=1, delta=policy.largest_delta)
    if after > policy.largest_epsilon:
        raise Declined(
            RefusalCode.BUDGET_SPENT,
            f"policy largest_epsilon is {policy.largest_epsilon:g} for {dataset}; one more round of "
            f"{study.study.name} would make it {after:.4g} at delta {policy.largest_delta:g}",
        )


def rounds_that_fit(rows: Sequence[Row], dataset: str, study: Study, policy: Policy) -> int:
    """How many more rounds of ``study`` the budget of ``dataset`` can pay, of those one approval grants.

    0 if the budget is kept per another unit.
    """
    charges = charges_of(rows, dataset)
    if any(charge.unit != study.privacy.unit for charge in charges):
        return 0
    fits, too_many = 0, study.training.rounds + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if (
            _epsilon_after(charges, study, rounds=middle, delta=policy.largest_delta)
            <= policy.largest_epsilon
        ):
            fits = middle
        else:
            too_many = middle
    return fits


def budget_of(rows: Sequence[Row], dataset: str, policy: Policy) -> Budget:
    """The state of the budget of ``dataset``, recomputed from every charge in the journal."""
    charges = charges_of(rows, dataset)
    return Budget(
        dataset=dataset,
        unit=charges[0].unit if charges else None,
        epsilon=composed_epsilon([charge.charge for charge in charges], policy.largest_delta).pld,
        delta=policy.largest_delta,
        largest_epsilon=policy.largest_epsilon,
        rounds=len(charges),
    )


def course_of(rows: Sequence[Row], dataset: str, policy: Policy) -> tuple[Spent, ...]:
    """How the epsilon of ``dataset`` grew with its charged rounds, at 20 of them at most."""
    return course([charge.charge for charge in charges_of(rows, dataset)], policy.largest_delta)


def epsilon_of_patient(rows: Sequence[Row], dataset: str, policy: Policy, images: int) -> float | None:
    """What ``dataset`` spent of a patient who has so many ``images`` in it, all of them together.

    None where that says nothing new: a patient is the unit, or has one image at most, or nothing was spent.
    """
    charges = charges_of(rows, dataset)
    if images < 2 or not charges or charges[0].unit != "image":  # noqa: PLR2004 - one image is the unit itself
        return None
    return composed_epsilon(
        [charge.charge for charge in charges], policy.largest_delta, group_size=images
    ).pld


def charges_of(rows: Sequence[Row], dataset: str) -> list[Reserve]:
    """Every charge against ``dataset``, oldest first."""
    events = (row.event for row in rows)
    return [event for event in events if isinstance(event, Reserve) and event.dataset == dataset]


def approvals_of(rows: Sequence[Row], study_digest: bytes) -> int:
    """How often the study was approved: each approval is for all of its rounds, once."""
    return sum(isinstance(row.event, Approve) and row.event.study_digest == study_digest for row in rows)


def _check_unit(charges: Sequence[Reserve], dataset: str, study: Study) -> None:
    """One dataset, one unit: a loss per image says nothing about a patient, so they cannot be added."""
    for charge in charges:
        if charge.unit != study.privacy.unit:
            raise Declined(
                RefusalCode.POLICY,
                f"the budget of {dataset} is kept per {charge.unit}; the study's is {study.privacy.unit}",
            )


def _epsilon_after(charges: Sequence[Reserve], study: Study, *, rounds: int, delta: float) -> float:
    return composed_epsilon([*(charge.charge for charge in charges), study.cost_of(rounds)], delta).pld
