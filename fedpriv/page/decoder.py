"""Decoding in processes of their own, each with limits on memory and time.

A process that crashes, hangs or is killed takes nothing with it: the upload is refused and the next one
gets a fresh process. See `fedpriv.page.decoding` for what such a process may not do.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
from threading import Timer
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.page.decoding import ANSWER, PIXELS, REQUEST
from fedpriv.page.reading import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TIME_LIMIT_S = 10.0
"""For one image; the largest that is allowed takes 2 s."""

_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG")
"""Of the environment; the rest may hold the password of a database."""


class Refused(Exception):
    """An upload that is not looked at, for the reason ``refusal``."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Decoder:
    """One process, started when it is first needed. One caller at a time."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._time_limit_s = time_limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes, size: int) -> NDArray[np.float32]:
        """Pixels float32 (size, size, 3) in [0, 1] as `fedpriv.smears.decode` gives them, or `Refused`."""
        if not data:
            raise Refused(Refusal.EMPTY)
        process = self._running()
        alarm = Timer(self._time_limit_s, process.kill)
        alarm.start()
        try:
            kind, answer = _ask(process, data, size)
        except (OSError, EOFError):
            self.close()
            raise Refused(Refusal.TOO_COSTLY) from None
        finally:
            alarm.cancel()
        if kind != PIXELS:
            raise Refused(Refusal(answer.decode()))
        return np.frombuffer(answer, np.float32).reshape(size, size, 3)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fedpriv.page.decoding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders complain there in words of the file
                env={name: os.environ[name] for name in _INHERITED if name in os.environ}
                | {"OPENBLAS_NUM_THREADS": "1"},
            )
        return self._process


class Decoders:
    """``count`` decoders that the threads of a worker share."""

    def __init__(self, count: int) -> None:
        self._idle: queue.LifoQueue[Decoder] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(Decoder())

    def decode(self, data: bytes, size: int) -> NDArray[np.float32]:
        """As `Decoder.decode`; waits for a decoder."""
        with self._one() as decoder:
            return decoder.decode(data, size)

    def close(self) -> None:
        """End the processes that are idle."""
        while not self._idle.empty():
            self._idle.get().close()

    @contextlib.contextmanager
    def _one(self) -> Iterator[Decoder]:
        decoder = self._idle.get()
        try:
            yield decoder
        finally:
            self._idle.put(decoder)


def _ask(process: subprocess.Popen[bytes], data: bytes, size: int) -> tuple[int, bytes]:
    """One exchange; OSError or EOFError if the process ends on the way."""
    if process.stdin is None or process.stdout is None:
        raise EOFError
    process.stdin.write(REQUEST.pack(size, len(data)))
    process.stdin.write(data)
    process.stdin.flush()
    header = process.stdout.read(ANSWER.size)
    if len(header) < ANSWER.size:
        raise EOFError
    kind, length = ANSWER.unpack(header)
    answer = process.stdout.read(length)
    if len(answer) < length:
        raise EOFError
    return kind, answer
