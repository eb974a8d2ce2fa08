"""What both ends of the link have in common: a quiet Flower, and an envelope as Flower's records.

Imported before flwr and gRPC, since each reads its switches once, when it is first imported. All that is
relied on of flwr, here and at both ends, is no documented API; tests/node/test_flower_contract.py names it.
"""

from __future__ import annotations

import logging
import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["GRPC_VERBOSITY"] = "NONE"  # who is away is a state or an error to report, not lines on stderr
# A proxy may be the only way out of a hospital, but gRPC would ask it even for loopback.
os.environ["no_grpc_proxy"] = f"127.0.0.1,localhost,{os.environ.get('no_proxy', '')}"  # noqa: SIM112

from flwr.common import Array, ArrayRecord, ConfigRecord, RecordDict

from fedpriv.secagg.messages import Envelope, Stage

MESSAGE_TYPE = "query.fedpriv"

INLINE_BYTES = 1_000_000
"""A longer vector is cut into objects."""


def to_content(envelope: Envelope) -> RecordDict:
    """The records of ``envelope``; a long vector is in an array, the only one."""
    record = ConfigRecord({"stage": int(envelope.stage), "body": envelope.body})
    content = RecordDict({"envelope": record})
    if len(envelope.vector) <= INLINE_BYTES:
        record["vector"] = envelope.vector
    else:
        array = Array("uint8", (len(envelope.vector),), "bytes", envelope.vector)
        content["vector"] = ArrayRecord({"bytes": array})
    return content


def travels_whole(content: RecordDict) -> bool:
    """Whether ``content`` goes in the call that sends its message, and not as objects, one call each."""
    return not content.array_records


def from_content(content: RecordDict) -> Envelope:
    """The envelope whose content is exactly ``content``; ValueError, KeyError or TypeError otherwise."""
    fields = content.config_records["envelope"]
    stage, body = fields["stage"], fields["body"]
    long = "vector" in content
    vector = content.array_records["vector"]["bytes"].data if long else fields["vector"]
    if not (isinstance(stage, int) and isinstance(body, bytes) and isinstance(vector, bytes)):
        raise TypeError("a field of the wrong type")
    envelope = Envelope(Stage(stage), body, vector)
    if to_content(envelope) != content:
        raise ValueError("something beside the envelope")
    return envelope


def silence_flwr() -> None:
    """Take flwr's console handler away: what matters is raised, reported or logged by the ends themselves."""
    logger = logging.getLogger("flwr")
    logger.handlers = [logging.NullHandler()]
    logger.setLevel(logging.CRITICAL)
