"""What Flower's SecAgg+ computes, with the installed flwr's functions, as its mod and workflow call them.

Its messages, logging and quantisation are left out. ``measured_*`` run at most a part of the masks and
secrets and scale up, since the cost is exactly linear in both: they return seconds and whether they did.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before flwr is imported

from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
)
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

MOD_RANGE = 1 << 32  # its default
VALUES_AT_A_TIME = 60_000_000
SECRETS_AT_A_TIME = 2


def measured_masks(
    seconds: Callable[[Callable[[], None]], float], values: np.ndarray, own: int, pairs: int
) -> tuple[float, bool]:
    """``own`` private masks and ``pairs`` pair masks, key agreement included, on one vector."""
    count = own + pairs
    measured = max(1, min(count, VALUES_AT_A_TIME // values.size))
    agreed = round(measured * pairs / count)
    private, public = generate_key_pairs()
    private_bytes, public_bytes = private_key_to_bytes(private), public_key_to_bytes(public)

    def work() -> None:
        total = [values]
        for index in range(measured):
            seed = os.urandom(32)
            if index < agreed:
                seed = generate_shared_key(
                    bytes_to_private_key(private_bytes), bytes_to_public_key(public_bytes)
                )
            mask = pseudo_rand_gen(seed, MOD_RANGE, get_parameters_shape(total))
            total = parameters_addition(total, mask)
        parameters_mod(total, MOD_RANGE)

    return seconds(work) * count / measured, measured < count


def measured_secrets(
    seconds: Callable[[Callable[[], None]], float],
    *,
    hospitals: int,
    threshold: int,
    survivors: int,
) -> tuple[float, bool]:
    """Combine the private seed of each survivor and the PEM key of each dropped, from all answers."""
    private, _ = generate_key_pairs()
    spent, scaled = 0.0, False
    for secret, count in (
        (os.urandom(32), survivors),
        (private_key_to_bytes(private), hospitals - survivors),
    ):
        measured = min(count, SECRETS_AT_A_TIME)
        if not measured:
            continue
        shares = create_shares(secret, threshold, hospitals)[:survivors]

        def work(shares: list[bytes] = shares, measured: int = measured) -> None:
            for _ in range(measured):
                combine_shares(shares)

        spent += seconds(work) * count / measured
        scaled |= measured < count
    return spent, scaled
