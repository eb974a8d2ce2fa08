"""From shares to the masks that are still in the sum.

A share that does not fit must not cost everybody the round, as long as enough others do: a secret is
rebuilt from the first t shares, and if these do not give what its owner committed to, from each t in a row
around the circle of those who answered, so at most as many tries as answers. One wrong share among t + 1 is
always avoided; k of them are, if t that fit stand in a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedpriv.errors import RoundFailed
from fedpriv.secagg.key_agreement import pair_mask, self_mask
from fedpriv.secagg.refusal import RuleBroken
from fedpriv.secagg.shares import lagrange_weights, rebuild
from fedpriv.secagg.terms import self_mask_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fedpriv.secagg.graph import Graph
    from fedpriv.secagg.masks import Mask
    from fedpriv.secagg.messages import Advertisement, Commitment, UnmaskShares
    from fedpriv.secagg.terms import RoundTerms


@dataclass(slots=True)
class Unmasking:
    """Everything public that fixes which masks are in the sum, and the shares that were answered.

    ``unfit``, filled by `masks`: who answered -> the owners of secrets of which its share does not fit. It
    is evidence, not proof: two hospitals who lie in concert can make an honest one appear there.
    """

    terms: RoundTerms
    graph: Graph
    cohort: bytes
    context: bytes
    advertisements: Mapping[str, Advertisement]
    commitments: Mapping[str, Commitment]
    survivors: frozenset[str]
    answers: Mapping[str, UnmaskShares]
    unfit: dict[str, list[str]] = field(init=False, default_factory=dict)
    _weights: dict[tuple[str, ...], list[int]] = field(init=False, default_factory=dict)

    def masks(self) -> list[Mask]:
        """The masks whose sum, added to the sum of the masked vectors, leaves the sum of the values.

        Raises RoundFailed if a secret has too few shares that give what its owner committed to.
        """
        self_shares: dict[str, dict[str, bytes]] = {}
        key_shares: dict[str, dict[str, bytes]] = {}
        for name, answer in sorted(self.answers.items()):
            for held in answer.self_mask_shares:
                self_shares.setdefault(held.owner, {})[name] = held.share
            for held in answer.mask_key_shares:
                key_shares.setdefault(held.owner, {})[name] = held.share
        masks = []
        for owner in sorted(self.commitments):
            if owner in self.survivors:
                seed = self._rebuild(owner, self_shares.get(owner, {}), self._is_self_mask_seed)
                masks.append(self_mask(seed, owner, self.context).negated())
            elif self._left_behind(owner):
                private = X25519PrivateKey.from_private_bytes(
                    self._rebuild(owner, key_shares.get(owner, {}), self._is_mask_key)
                )
                masks += [
                    pair_mask(private, self.advertisements[peer].mask_key, owner, peer, self.context)
                    for peer in self._left_behind(owner)
                ]
        return masks

    def _left_behind(self, dropped: str) -> list[str]:
        """The survivors that masked with ``dropped``."""
        return [peer for peer in self.graph.neighbours(dropped) if peer in self.survivors]

    def _is_self_mask_seed(self, owner: str, secret: bytes) -> bool:
        return self_mask_digest(secret, owner, self.cohort) == self.commitments[owner].self_mask_digest

    def _is_mask_key(self, owner: str, secret: bytes) -> bool:
        public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        return public == self.advertisements[owner].mask_key

    def _rebuild(
        self, owner: str, shares: Mapping[str, bytes], is_right: Callable[[str, bytes], bool]
    ) -> bytes:
        """The secret of ``owner`` that ``is_right``, from its ``shares`` by the names of their holders."""
        threshold = self.graph.threshold
        if len(shares) < threshold:
            raise RoundFailed(f"{len(shares)} shares of a secret of {owner}, threshold {threshold}")
        circle = sorted(shares, key=lambda holder: (holder in self.unfit, holder))  # who lied once comes last
        for first in range(len(circle) if len(circle) > threshold else 1):
            chosen = (circle + circle)[first : first + threshold]
            secret = self._secret(chosen, shares)
            if secret is not None and is_right(owner, secret):
                if first:
                    self._note_unfit(owner, secret, chosen, shares)
                return secret
        raise RoundFailed(
            f"no {threshold} of the {len(shares)} shares tried of a secret of {owner} fit what it committed"
        )

    def _secret(self, holders: Sequence[str], shares: Mapping[str, bytes]) -> bytes | None:
        """What the shares of exactly threshold ``holders`` give, None if that is no secret."""
        key = tuple(holders)
        if key not in self._weights:
            self._weights[key] = lagrange_weights([self.terms.hospitals.index(name) + 1 for name in holders])
        try:
            return rebuild([shares[name] for name in holders], self._weights[key])
        except RuleBroken:
            return None

    def _note_unfit(
        self, owner: str, secret: bytes, chosen: Sequence[str], shares: Mapping[str, bytes]
    ) -> None:
        """Note whose share lies beside the polynomial through the shares of ``chosen``."""
        for holder in sorted(set(shares) - set(chosen)):
            if self._secret([holder, *chosen[1:]], shares) != secret:
                self.unfit.setdefault(holder, []).append(owner)
