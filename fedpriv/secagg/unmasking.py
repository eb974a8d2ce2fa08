"""From shares to the masks that are still in the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedpriv.errors import RoundFailed
from fedpriv.secagg.key_agreement import pair_mask, self_mask
from fedpriv.secagg.refusal import RuleBroken
from fedpriv.secagg.shares import lagrange_weights, rebuild
from fedpriv.secagg.terms import self_mask_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedpriv.secagg.graph import Graph
    from fedpriv.secagg.masks import Mask
    from fedpriv.secagg.messages import Advertisement, Commitment, UnmaskShares
    from fedpriv.secagg.terms import RoundTerms


@dataclass(frozen=True, slots=True)
class Unmasking:
    """Everything public that fixes which masks are in the sum, and the shares that were answered."""

    terms: RoundTerms
    graph: Graph
    cohort: bytes
    context: bytes
    advertisements: Mapping[str, Advertisement]
    commitments: Mapping[str, Commitment]
    survivors: frozenset[str]
    answers: Mapping[str, UnmaskShares]

    def masks(self) -> list[Mask]:
        """The masks whose sum, added to the sum of the masked vectors, leaves the sum of the values.

        Raises RoundFailed if a secret has too few shares or is not the one that its owner committed to.
        """
        self_shares: dict[str, dict[int, bytes]] = {}
        key_shares: dict[str, dict[int, bytes]] = {}
        for name, answer in self.answers.items():
            x = self.terms.hospitals.index(name) + 1
            for held in answer.self_mask_shares:
                self_shares.setdefault(held.owner, {})[x] = held.share
            for held in answer.mask_key_shares:
                key_shares.setdefault(held.owner, {})[x] = held.share
        weights: dict[tuple[int, ...], list[int]] = {}
        masks = []
        for owner in sorted(self.commitments):
            if owner in self.survivors:
                seed = self._rebuild(owner, self_shares.get(owner, {}), weights)
                if self_mask_digest(seed, owner, self.cohort) != self.commitments[owner].self_mask_digest:
                    raise RoundFailed(f"the shares of {owner}'s self-mask are not what it committed to")
                masks.append(self_mask(seed, owner, self.context).negated())
            elif self._left_behind(owner):
                private = X25519PrivateKey.from_private_bytes(
                    self._rebuild(owner, key_shares.get(owner, {}), weights)
                )
                if private.public_key().public_bytes_raw() != self.advertisements[owner].mask_key:
                    raise RoundFailed(f"the shares of {owner}'s mask key are not of the key it advertised")
                masks += [
                    pair_mask(private, self.advertisements[peer].mask_key, owner, peer, self.context)
                    for peer in self._left_behind(owner)
                ]
        return masks

    def _left_behind(self, dropped: str) -> list[str]:
        """The survivors that masked with ``dropped``."""
        return [peer for peer in self.graph.neighbours(dropped) if peer in self.survivors]

    def _rebuild(
        self, owner: str, shares: dict[int, bytes], weights: dict[tuple[int, ...], list[int]]
    ) -> bytes:
        threshold = self.graph.threshold
        if len(shares) < threshold:
            raise RoundFailed(f"{len(shares)} shares of a secret of {owner}, threshold {threshold}")
        xs = tuple(sorted(shares)[:threshold])
        if xs not in weights:
            weights[xs] = lagrange_weights(xs)
        try:
            return rebuild([shares[x] for x in xs], weights[xs])
        except RuleBroken as error:
            raise RoundFailed(f"a share of a secret of {owner} is corrupt") from error
