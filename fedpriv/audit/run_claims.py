"""What a run claims as a whole: the order of its rounds, the chain of its models, and what it cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedpriv.audit.composition import best_guess, composed
from fedpriv.audit.round_claims import RoundClaims
from fedpriv.coordinator.run_folder import ReceiptsAcknowledged, RoundStarted
from fedpriv.identity.countersigning import check_countersignatures

if TYPE_CHECKING:
    from fedpriv.audit.claims import Claims
    from fedpriv.audit.evidence import RunEvidence
    from fedpriv.dp.accounting import Epsilon
    from fedpriv.identity.roster import Roster

_FRACTION = 1e-9
"""Two runs of one accountant may differ by float rounding."""

_LARGEST_ROUND = 2**32 - 1
_UNKNOWN_LENGTH = 1
"""The number of parameters takes no part in what is signed."""


def verify_run(claims: Claims, run: RunEvidence, roster: Roster) -> Epsilon | None:
    """Recompute every claim of ``run``; what it spent on any one unit, by both accountants.

    None if that cannot be said: the study is none that could be run, or not the one that was.
    """
    known = {name for one in roster.lineage for name in one.names}
    strangers = sorted(set(run.study.names) - known)
    planned = run.study.privacy.noise_multiplier is not None
    if not claims.hold("study", f"not on the roster: {', '.join(strangers)}", given=not strangers):
        return None
    if not claims.hold("study", "it has no noise_multiplier: it was never planned", given=planned):
        return None
    _verify_order(claims, run)
    _verify_rosters(claims, run, roster)
    for ended in run.ended:
        possible = 1 <= ended.round <= _LARGEST_ROUND
        if not claims.hold(f"round {ended.round}", "there is no such number", given=possible):
            continue
        at_the_time = roster.at(ended.record.roster_digest) or roster
        terms = run.study.round_terms(
            run=run.run,
            round_number=ended.round,
            roster_digest=at_the_time.digest,
            parameters=_UNKNOWN_LENGTH,
        )
        round_claims = RoundClaims(claims, ended, terms, at_the_time)
        round_claims.verify()
        for line in run.acknowledgements:
            if line.round == ended.round:
                round_claims.verify_acknowledgements(line.acknowledgements)
    _verify_models(claims, run)
    unsigned = run.ended and all(ended.record.study_digest != run.study.digest for ended in run.ended)
    if unsigned or run.charged > run.study.training.rounds:
        return None  # has failed above; nor may a made-up number keep the accountants busy for hours
    return _verify_cost(claims, run)


def _verify_rosters(claims: Claims, run: RunEvidence, roster: Roster) -> None:
    """Everybody agreed to each roster, and no round went back to one that had been replaced."""
    for one in roster.lineage:
        with claims.rule("roster"):
            check_countersignatures(one)
    newest = 0
    for ended in run.ended:
        used = roster.at(ended.record.roster_digest)
        if used is not None:  # another one fails with the round itself
            claims.hold(
                f"round {ended.round}",
                f"it has roster number {used.number}, after a round with number {newest}",
                given=used.number >= newest,
            )
            newest = max(newest, used.number)


def _verify_order(claims: Claims, run: RunEvidence) -> None:
    started: list[int] = []
    complete: list[int] = []
    for line in run.lines:
        if isinstance(line, RoundStarted):
            claims.hold(
                f"round {line.round}",
                "it did not start after the rounds before it",
                given=line.round > max(started, default=0),
            )
            started.append(line.round)
        elif isinstance(line, ReceiptsAcknowledged):
            claims.hold(
                f"round {line.round}",
                "receipts were confirmed without the round being the last one that was complete",
                given=complete[-1:] == [line.round],
            )
            complete.clear()
        else:
            if line.outcome == "complete":
                complete.append(line.round)
            claims.hold(
                f"round {line.round}",
                "it ended without being the one that started last",
                given=started[-1:] == [line.round],
            )
    numbers = [line.round for line in run.ended]
    claims.hold("run", "a round ended twice", given=len(set(numbers)) == len(numbers))
    planned = run.study.training.rounds
    claims.hold(
        "run", f"{run.charged} rounds were charged of {planned} planned", given=run.charged <= planned
    )


def _verify_models(claims: Claims, run: RunEvidence) -> None:
    """Each round starts from the model that the last complete one made."""
    current = run.ended[0].model_before if run.ended else ""
    for ended in run.ended:
        claims.hold(
            f"round {ended.round}",
            "it did not start from the model of the last complete round",
            given=ended.model_before == current,
        )
        current = ended.model_after
    published = _verify_published(claims, run)
    card, complete = run.card, sum(ended.outcome == "complete" for ended in run.ended)
    if card is None:
        claims.hold("model", "there is none, though rounds are complete", given=not complete)
        return
    study = run.study
    for what, given, due in (
        ("digest of the study", card.study_digest, study.digest.hex()),
        ("study", card.study, study.study.name),
        ("network", card.network, study.model.name),
        ("classes", card.classes, study.study.classes),
        ("size of images", card.image_size, study.images.size),
    ):
        claims.hold("model card", f"its {what} is not that of the study", given=given == due)
    claims.hold(
        "model card", f"it counts {card.rounds} rounds, the record {complete}", given=card.rounds == complete
    )
    claims.hold(
        "model card",
        "it is not the model that the last receipt names as published",
        given=card.model_digest == published,
    )


def _verify_published(claims: Claims, run: RunEvidence) -> str:
    """The digest (hex) of the model for the world, from the last receipt of a complete round."""
    published = ""
    for ended in run.ended:
        receipt = ended.record.receipt
        if ended.outcome != "complete" or receipt is None:
            continue
        published = receipt.published_digest.hex()
        if not run.study.training.averaging:
            claims.hold(
                f"round {ended.round}, receipt",
                "it publishes another model than the round made, and the study has no averaging",
                given=receipt.published_digest == receipt.model_digest_after,
            )
    if published and run.study.training.averaging:
        claims.leave_open(
            "model", "that it is the average of the rounds' models: of those in between only digests are kept"
        )
    return published


def _verify_cost(claims: Claims, run: RunEvidence) -> Epsilon:
    """What both accountants say of all charged rounds, against the card's and the study's epsilon."""
    spent, privacy = _spent(run), run.study.privacy
    claims.hold("epsilon", "the two accountants contradict each other", given=spent.pld <= spent.rdp)
    claims.hold(
        "epsilon",
        f"{spent.pld:.4g} was spent, more than the study's {privacy.epsilon:g}",
        given=spent.pld <= privacy.epsilon,
    )
    if run.card is None:
        return spent
    claim = run.card.privacy
    for what, claimed, due in (
        ("unit", claim.unit, privacy.unit),
        ("noise", claim.noise, privacy.noise),
        ("delta", claim.delta, privacy.delta),
    ):
        claims.hold("model card", f"{what} {claimed}, the study has {due}", given=claimed == due)
    success = 1.0 if privacy.noise == "none" else best_guess((run.study.cost_of(run.charged),))
    for what, said, due, nothing_said in (
        ("epsilon", claim.epsilon, spent.pld, math.inf),
        ("candidate_success", claim.candidate_success, success, 1.0),
    ):
        claimed = nothing_said if said is None else said
        claims.hold(
            "model card",
            f"it claims {what} {claimed:.6g}; {run.charged} charged rounds cost {due:.6g}",
            given=claimed == due or math.isclose(claimed, due, rel_tol=_FRACTION),
        )
    return spent


def _spent(run: RunEvidence) -> Epsilon:
    return composed((run.study.cost_of(run.charged),), run.study.privacy.delta)
