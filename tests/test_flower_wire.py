"""An envelope as Flower's records: all of it arrives, and nothing beside it does."""

import logging

import pytest
from flwr.common import Message
from flwr.server.superlink.linkstate import utils
from flwr.supercore.inflatable import inflatable_object, inflatable_utils

from fedpriv import flower_wire
from fedpriv.secagg.messages import Envelope, Stage


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(Stage.ADVERTISE, b""),
        Envelope(Stage.CLOSE, bytes(range(256))),
        Envelope(Stage.UPLOAD, b"body", bytes(1_000_000)),
        Envelope(Stage.UPLOAD, b"body", bytes(1_000_001)),
        Envelope(Stage.UPLOAD, b"body", bytes(11 << 20)),
    ],
)
def test_an_envelope_survives_the_way_through_records_and_objects(envelope):
    message = Message(flower_wire.to_content(envelope), 1, flower_wire.MESSAGE_TYPE)
    objects = inflatable_object.get_all_nested_objects(message)
    contents = {object_id: item.deflate() for object_id, item in objects.items()}
    inflated = inflatable_utils.inflate_object_from_contents(message.object_id, contents)
    assert flower_wire.from_content(inflated.content) == envelope


@pytest.mark.parametrize(("longer", "whole"), [(0, True), (1, False)])
def test_a_short_vector_travels_whole(longer, whole):
    """Each object costs a round two calls of 3 ms."""
    envelope = Envelope(Stage.UPLOAD, b"b", bytes(flower_wire.INLINE_BYTES + longer))
    assert flower_wire.travels_whole(flower_wire.to_content(envelope)) is whole


def test_the_state_of_flower_relays_the_content_of_a_message():
    """Its own clients send none and the content in objects; ours rely on what it does with one."""
    envelope = Envelope(Stage.UPLOAD, b"b", b"vector")
    message = Message(flower_wire.to_content(envelope), 1, flower_wire.MESSAGE_TYPE)
    relayed = utils.dict_to_message(utils.message_to_dict(message))
    assert flower_wire.from_content(relayed.content) == envelope


def short_content(**changes):
    """The content of an envelope whose vector travels with it, changed."""
    fields = {"stage": 2, "body": b"b", "vector": b"abc"} | changes.pop("fields", {})
    return flower_wire.RecordDict({"envelope": flower_wire.ConfigRecord(fields)} | changes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fields": {"loss": 0.5}},
        {"fields": {"stage": 6}},
        {"fields": {"stage": 2.0}},
        {"fields": {"body": "b"}},
        {"fields": {"vector": "abc"}},
        {"fields": {"vector": [1]}},
        {"metrics": flower_wire.ConfigRecord({"loss": 0.5})},
        {"vector": flower_wire.ArrayRecord()},
        {"envelope": flower_wire.ConfigRecord({"stage": 2, "body": b"b"})},
    ],
    ids=str,
)
def test_anything_beside_one_short_envelope_is_refused(wrong):
    assert flower_wire.from_content(short_content()) == Envelope(Stage.UPLOAD, b"b", b"abc")
    with pytest.raises((ValueError, KeyError, TypeError)):
        flower_wire.from_content(short_content(**wrong))


def content(**changes):
    """The content of an envelope whose vector has objects of its own, changed."""
    fields = {"stage": 2, "body": b"b"} | changes.pop("fields", {})
    array = {"dtype": "uint8", "shape": (3,), "stype": "bytes", "data": b"abc"} | changes.pop("array", {})
    records = {
        "envelope": flower_wire.ConfigRecord(fields),
        "vector": flower_wire.ArrayRecord({changes.pop("key", "bytes"): flower_wire.Array(**array)}),
    }
    return flower_wire.RecordDict(records | changes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fields": {"loss": 0.5}},
        {"fields": {"stage": 6}},
        {"fields": {"stage": -1}},
        {"fields": {"stage": 2.0}},
        {"fields": {"stage": "2"}},
        {"fields": {"body": "b"}},
        {"fields": {"body": [1]}},
        {"array": {"dtype": "float32"}},
        {"array": {"shape": (4,)}},
        {"array": {"shape": (3, 1)}},
        {"array": {"stype": "numpy.ndarray"}},
        {"array": {"data": b"", "shape": (0,)}},
        {"key": "weights"},
        {"metrics": flower_wire.ConfigRecord({"loss": 0.5})},
        {"more": flower_wire.ArrayRecord()},
        {"vector": flower_wire.ConfigRecord()},
        {"envelope": flower_wire.ArrayRecord()},
    ],
    ids=str,
)
def test_anything_beside_one_envelope_is_refused(wrong, monkeypatch):
    monkeypatch.setattr(flower_wire, "INLINE_BYTES", 2)
    assert flower_wire.from_content(content()) == Envelope(Stage.UPLOAD, b"b", b"abc")
    with pytest.raises((ValueError, KeyError, TypeError)):
        flower_wire.from_content(content(**wrong))


def test_flwr_does_not_reach_the_terminal(capfd):
    logger = logging.getLogger("flwr")
    before = logger.handlers, logger.level
    try:
        flower_wire.silence_flwr()
        logger.error("a banner")
    finally:
        logger.handlers, logger.level = before
    assert capfd.readouterr() == ("", "")
