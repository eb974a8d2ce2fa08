"""A share for x = 0 is the secret itself; two shares for one x rebuild nothing.

Here a hospital's x is its place in the declared cohort, from 1. It is on no message.
"""

import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg import shares
from fedpriv.secagg.messages import SHARE_BYTES, ShareDelivery, Stage, decode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

SECRET = bytes(range(32))


@pytest.mark.parametrize("points", [[0, 1, 2], [1, 2, 2], [-1, 1, 2], [shares.PRIME, 1, 2]])
def test_such_points_are_refused(points):
    for use in (lambda: shares.split(SECRET, 2, points), lambda: shares.lagrange_weights(points)):
        with pytest.raises(RuleBroken) as refused:
            use()
        assert refused.value.code is RefusalCode.BAD_SHARE


def test_control_without_the_check_the_share_for_zero_is_the_secret(monkeypatch):
    monkeypatch.setattr(shares, "_check_points", lambda _points: None)
    assert shares.split(SECRET, 2, [0, 1, 2])[0] == SECRET.rjust(SHARE_BYTES, b"\0")


def test_control_without_the_check_a_repeated_point_breaks_the_weights(monkeypatch):
    monkeypatch.setattr(shares, "_check_points", lambda _points: None)
    with pytest.raises(ValueError, match="not invertible"):
        shares.lagrange_weights([1, 2, 2])


def test_no_message_carries_a_point():
    federation = Federation(terms_for(3))
    federation.run_to(Stage.UPLOAD)
    delivery = decode(federation.replies[Stage.SHARE, "h0000"].body, ShareDelivery)
    assert {field for letter in delivery.ciphertexts for field in letter.__struct_fields__} == {
        "name",
        "ciphertext",
    }


@pytest.mark.parametrize(("threshold", "length"), [(0, 32), (4, 32), (2, 31), (2, 33)])
def test_impossible_splits_are_refused(threshold, length):
    with pytest.raises(RuleBroken):
        shares.split(bytes(length), threshold, [1, 2, 3])
