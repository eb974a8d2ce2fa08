"""The model card of a run, made from its bundle after every claim in it was recomputed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.audit.bundle import read_bundle
from fedpriv.audit.claims import Claims
from fedpriv.audit.verify import verify
from fedpriv.errors import HomeError, Refused
from fedpriv.model.model_card import ModelCard, Proof

if TYPE_CHECKING:
    from pathlib import Path

    from fedpriv.model.evaluate import Evaluation
    from fedpriv.model.folder import Card


def model_card_of(
    bundle: Path,
    card: Card,
    *,
    source: str | None,
    held_out: Evaluation | None,
    new_hospitals: Evaluation | None,
    without_privacy: Evaluation | None,
) -> ModelCard:
    """The model card of the model that ``card`` describes; figures are as `ModelCard` has them.

    BundleError if there is no bundle; Refused if a claim of it fails; HomeError if its model is another one.
    """
    claims = Claims()
    packed = read_bundle(claims, bundle)
    verdict = verify(claims, packed.roster, packed.run, packed.journals)
    if verdict.failures:
        first = verdict.failures[0]
        raise Refused(
            f"{bundle}: {len(verdict.failures)} of {verdict.checked} claims fail, first {first.record}: "
            f"{first.reason}",
            hint="no model card is made of that; `fedpriv audit verify` lists all",
        )
    if packed.run is None or packed.run.card != card:
        raise HomeError(
            f"{bundle}: holds another model than the run", hint="`fedpriv coordinator bundle` makes it anew"
        )
    return ModelCard(
        model_digest=card.model_digest,
        hospitals=len(packed.run.study.names),
        declared_units=packed.run.study.units,
        proof=Proof(
            bundle_sha256=packed.sha256,
            claims=verdict.checked,
            not_shown=len(verdict.not_shown),
            roster=packed.roster.fingerprint,
        ),
        source=source,
        held_out=held_out,
        new_hospitals=new_hospitals,
        without_privacy=without_privacy,
    )
