"""Shamir's scheme: any t shares rebuild, fewer say nothing, and the field is what it claims to be."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.shares import PRIME, element, lagrange_weights, rebuild, split


def is_prime(n: int) -> bool:
    """Miller and Rabin with the first 40 primes as bases; error below 4^-40 for a composite n."""
    bases = [p for p in range(2, 200) if all(p % q for q in range(2, p))][:40]
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def test_the_modulus_is_a_prime_above_every_32_byte_secret():
    assert is_prime(PRIME)
    assert PRIME > 2**256
    assert not is_prime(PRIME - 2)


@given(st.binary(min_size=32, max_size=32), st.data())
@settings(max_examples=40, deadline=None)
def test_any_threshold_of_shares_rebuild(secret, data):
    n = data.draw(st.integers(2, 12))
    t = data.draw(st.integers(1, n))
    points = data.draw(st.permutations(range(1, n + 1)))
    shares = dict(zip(points, split(secret, t, points), strict=True))
    chosen = data.draw(st.permutations(points))[:t]
    assert rebuild([shares[x] for x in chosen], lagrange_weights(chosen)) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32], ids=["zero", "largest"])
def test_every_subset_rebuilds_the_extreme_secrets(secret):
    points = [1, 2, 3, 5, 8]
    shares = dict(zip(points, split(secret, 3, points), strict=True))
    for chosen in itertools.combinations(points, 3):
        assert rebuild([shares[x] for x in chosen], lagrange_weights(chosen)) == secret


def test_fewer_shares_fit_every_secret():
    """For t - 1 shares and any secret there is one polynomial through all of them: nothing is told."""
    points = [1, 2, 3]
    known = [element(share) for share in split(b"s" * 32, 3, points)][:2]
    for secret in (0, 1, 2**256 - 1):
        third = lagrange_weights([1, 2, 3])
        fitting = (secret - third[0] * known[0] - third[1] * known[1]) * pow(third[2], -1, PRIME) % PRIME
        shares = [value.to_bytes(33, "big") for value in (*known, fitting)]
        assert rebuild(shares, third) == secret.to_bytes(32, "big")


def test_two_splits_of_one_secret_differ():
    assert split(b"s" * 32, 2, [1, 2]) != split(b"s" * 32, 2, [1, 2])


@pytest.mark.parametrize("share", [PRIME.to_bytes(33, "big"), b"\xff" * 33, bytes(32), bytes(34), b""])
def test_what_is_no_element_is_refused(share):
    with pytest.raises(RuleBroken) as refused:
        element(share)
    assert refused.value.code is RefusalCode.BAD_SHARE


def test_a_secret_that_is_too_large_is_refused():
    with pytest.raises(RuleBroken):
        rebuild([(2**256).to_bytes(33, "big")], [1])
