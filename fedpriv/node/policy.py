"""A hospital's own rules, in ``[policy]`` of its node.toml; the stricter of policy and study wins.

Nothing that arrives over the network can change them. A refusal names the rule and both numbers.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fedpriv.dp.accounting import composed_epsilon
from fedpriv.errors import PolicyRefused
from fedpriv.secagg.refusal import RefusalCode
from fedpriv.study import Noise, Study


class Declined(PolicyRefused):
    """The hospital says no; ``code`` is all that the coordinator learns of the reason."""

    def __init__(self, code: RefusalCode, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[policy]``: what this hospital takes part in at most.

    ``smallest_cohort``: never fewer hospitals in a sum. ``largest_epsilon`` at ``largest_delta``: what the
    dataset may spend in its whole life, over all studies and coordinators. ``colluders``: at least so many
    other hospitals must be tolerated in league with the coordinator; where none is, a single one is enough
    to open an update. ``noise``: the kinds allowed.
    """

    smallest_cohort: Annotated[int, Meta(ge=2)]
    largest_epsilon: Annotated[float, Meta(gt=0)]
    largest_delta: Annotated[float, Meta(gt=0, lt=1)]
    colluders: Annotated[int, Meta(ge=0)] = 1
    noise: Annotated[tuple[Noise, ...], Meta(min_length=1)] = ("local", "distributed")


def check_study(policy: Policy, study: Study, hospital: str) -> None:
    """Return if ``hospital`` may take part in ``study``; raise Declined naming the rule otherwise.

    StudyError if its network is not installed here. It looks at the study alone; what the dataset has spent
    already is `fedpriv.node.budget`'s.
    """
    _ = study.network
    if hospital not in study.hospitals:
        raise Declined(
            RefusalCode.POLICY,
            f"the study {study.study.name} is for {', '.join(study.names)}, not for {hospital}",
        )
    privacy = study.privacy
    if privacy.noise not in policy.noise:
        raise Declined(
            RefusalCode.POLICY,
            f'policy noise allows {", ".join(policy.noise)}; the study has noise = "{privacy.noise}"',
        )
    if privacy.delta > policy.largest_delta:
        raise Declined(
            RefusalCode.POLICY,
            f"policy largest_delta is {policy.largest_delta:g}; the study's is {privacy.delta:g}",
        )
    if privacy.epsilon > policy.largest_epsilon:
        raise Declined(
            RefusalCode.POLICY,
            f"policy largest_epsilon is {policy.largest_epsilon:g}; the study's is {privacy.epsilon:g}",
        )
    tolerated = study.secure_aggregation.colluders
    if policy.colluders > tolerated:
        raise Declined(
            RefusalCode.POLICY,
            f"policy colluders is {policy.colluders}; the study tolerates {tolerated} of "
            f"{len(study.hospitals)} hospitals in league with the coordinator",
        )
    most = len(study.hospitals) - study.secure_aggregation.dropouts
    if policy.smallest_cohort > most:
        raise Declined(
            RefusalCode.POLICY,
            f"policy smallest_cohort is {policy.smallest_cohort}; the study goes on with {most} of "
            f"{len(study.hospitals)} hospitals",
        )


def check_claim(study: Study) -> None:
    """Return if the study's noise meets its epsilon and delta; raise Declined otherwise.

    Recomputed before approval: whoever planned the study is not trusted to have planned it right.
    """
    spends = composed_epsilon([study.cost_of(study.training.rounds)], study.privacy.delta).pld
    if spends > study.privacy.epsilon:
        raise Declined(
            RefusalCode.POLICY,
            f"the study claims epsilon {study.privacy.epsilon:g}, but {study.steps} steps at "
            f"noise_multiplier {study.noise_multiplier:g} spend {spends:.4g} at its delta",
            hint="ask the operator to run `fedpriv study plan` again",
        )
