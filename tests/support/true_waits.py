"""Lets gRPC's deadlines follow the true time where a test moves the clock (see clock.c).

gRPC for Python makes a timeout an absolute time of day, and its core, which has the true clock, waits for it.
A clock that really jumps does so for both; here only the half in Python would see it.
"""

import time
from types import SimpleNamespace

import grpc._channel

_BEGAN = time.time() - time.monotonic()
grpc._channel.time = SimpleNamespace(**vars(time) | {"time": lambda: _BEGAN + time.monotonic()})
