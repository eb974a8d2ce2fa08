"""Counts, losses and metrics next to the masked update: there is no field for them.

Every body that a hospital sends is listed here with its fields. Bytes have fixed lengths and are keys,
digests, signatures, ciphertexts or shares; there is no number but the round's.
"""

import itertools

import msgspec
import numpy as np
import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg import messages
from fedpriv.secagg.messages import Stage, decode, encode
from fedpriv.secagg.refusal import RefusalCode, RuleBroken

SENT = {
    messages.Advertisement: {
        "name",
        "run",
        "round",
        "roster_digest",
        "study_digest",
        "model_digest",
        "channel_key",
        "mask_key",
        "journal_head",
        "signature",
    },
    messages.ShareDelivery: {"commitment", "ciphertexts"},
    messages.Commitment: {"name", "cohort_digest", "self_mask_digest", "ciphertexts_digest", "signature"},
    messages.Addressed: {"name", "ciphertext"},
    messages.MaskedUpdate: {"name", "context", "vector_digest", "signature"},
    messages.Agreement: {"name", "context", "survivors_digest", "signature"},
    messages.UnmaskShares: {"name", "context", "self_mask_shares", "mask_key_shares", "signature"},
    messages.HeldShare: {"owner", "share"},
    messages.Closed: {"name", "receipt_digest", "journal_head", "signature"},
    messages.Refusal: {"code"},
}
BODIES = [
    messages.Advertisement,
    messages.ShareDelivery,
    messages.MaskedUpdate,
    messages.Agreement,
    messages.UnmaskShares,
    messages.Closed,
]


@pytest.mark.parametrize("kind", SENT, ids=lambda kind: kind.__name__)
def test_a_hospital_sends_these_fields_and_no_other(kind):
    assert set(kind.__struct_fields__) == SENT[kind]


@pytest.fixture(scope="module")
def conversation():
    federation = Federation(terms_for(4, parameters=300))
    federation.run()
    federation.exchange(federation.coordinator.close(b"M" * 32, b"P" * 32))
    return federation


@pytest.mark.parametrize("stage", Stage, ids=lambda stage: stage.name)
def test_a_reply_with_one_more_field_is_refused(conversation, stage):
    body = conversation.replies[stage, "h0000"].body
    extended = msgspec.msgpack.encode([*msgspec.msgpack.decode(body), 520])
    with pytest.raises(RuleBroken) as refused:
        decode(extended, BODIES[stage])
    assert refused.value.code is RefusalCode.MALFORMED


def test_control_a_schema_with_a_count_passes_it_on():
    class WithCount(messages.Message, frozen=True, tag="with-count"):
        name: str
        examples: int

    assert decode(encode(WithCount("h0000", 520)), WithCount).examples == 520


def everything_sent(conversation, name):
    replies = [conversation.replies[stage, name] for stage in Stage]
    return b"".join(reply.body + reply.vector for reply in replies)


def planted(values):
    """Windows of the update as they would look in every plain encoding."""
    for dtype, width in itertools.product(("<u2", "<i4", "<i8", ">i8", "<f4", "<f8"), (4,)):
        yield values.astype(dtype)[:width].tobytes()


def test_no_plain_encoding_of_the_update_is_on_the_wire(conversation):
    for name in conversation.terms.hospitals[1:]:
        sent = everything_sent(conversation, name)
        assert not any(window in sent for window in planted(conversation.values[name]))


def test_control_the_search_finds_an_update_that_was_sent_plain(conversation):
    values = conversation.values["h0001"]
    assert any(window in values.astype("<i8").tobytes() for window in planted(values))


def test_what_is_sent_has_the_same_length_whatever_the_update():
    def lengths(value):
        federation = Federation(terms_for(3))
        federation.values["h0000"] = np.full(federation.terms.parameters, value)
        federation.run()
        return [
            (len(reply.body), len(reply.vector))
            for (_, name), reply in federation.replies.items()
            if name == "h0000"
        ]

    assert lengths(0) == lengths(65535)
