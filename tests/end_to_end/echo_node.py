"""A hospital for tests: ``echo_node.py FLEET_ADDRESS CA_PEM KEY_PEM`` answers as the request's body says.

Prints the time and each state of the link, and ``handle BODY`` for each request; ends on SIGTERM.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedpriv.flower_wire import ConfigRecord
from fedpriv.node import flower
from fedpriv.secagg.messages import Envelope


def say(text: str) -> None:
    print(time.time(), text, flush=True)  # noqa: T201 - the test reads it


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def handle(request: Envelope) -> Envelope:
    say(f"handle {request.body.decode()}")
    match request.body.split():
        case [b"sleep", seconds]:
            time.sleep(float(seconds))
        case [b"die"]:
            die()
        case [b"die-in-upload"]:
            flower.push_objects = die  # the reply is announced, its objects never come
        case [b"twice"]:
            flower._push = push_twice
        case [b"extra"]:
            flower._push = push_with_extra
        case [b"raise"]:
            raise ValueError("a bug in the handler")
    return Envelope(request.stage, request.body + b"!", request.vector)


def push_with_extra(client: object, reply: flower.Message) -> None:
    reply.content["metrics"] = ConfigRecord({"loss": 0.5})
    flower._push = push
    push(client, reply)


def push_twice(client: object, reply: flower.Message) -> None:
    flower._push = push
    push(client, reply)
    reply.metadata.__dict__["_created_at"] -= 1  # another message in answer to the same request
    push(client, reply)


push = flower._push

if __name__ == "__main__":
    address, authority, key = sys.argv[1:]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    flower.serve(
        address,
        Path(authority).read_bytes(),
        load_pem_private_key(Path(key).read_bytes(), None),
        handle,
        stop,
        lambda state: say(str(state)),
    )
    say("end")
