"""Flower's SuperLink, stock and unchanged, as a child process of the coordinator.

Only the Fleet address is public. ServerAppIo and Control ask for no login, so they stay on loopback.
What Flower writes (state, bundles, log) stays in one folder of the coordinator's home. Nothing in the state
is needed: who may connect is in the roster, and what rounds came to is in the run.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import ipaddress
import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedpriv import logs
from fedpriv.errors import HomeError, Unreachable
from fedpriv.identity.private_files import read_private_file
from fedpriv.identity.tls import check_dates

if TYPE_CHECKING:
    from types import TracebackType

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0

DATABASE = "state.sqlite"

_LOG = "superlink.log"
_LOOPBACK = "127.0.0.1"
_ANY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 - recognised, not bound
_CALL_TIMEOUT_S = 5.0
_POLL_S = 0.1
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
# The request is the empty protobuf message, so that nothing of flwr is needed here.
_FIRST_CALL = "/flwr.proto.Control/ListRuns"
_SQLITE_FILES = ("", "-wal", "-shm")
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a SuperLink listens, each as ``HOST:PORT``."""

    fleet: str
    serverappio: str
    control: str


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificate and key, and the authority that signed the certificate.

    The certificate must also name 127.0.0.1: the Control API serves the same one.
    """

    certificate: Path
    key: Path
    authority: Path

    def check(self) -> None:
        """HomeError if a file is missing, does not fit the others, or does not name 127.0.0.1.

        IdentityError if others can read the key, or a certificate is out of date.
        """
        for file in (self.certificate, self.key, self.authority):
            if not file.is_file():
                raise HomeError(f"{file}: no such file", hint="`fedpriv coordinator init` makes TLS files")
        try:
            key = load_pem_private_key(read_private_file(self.key), password=None)
            certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
            raise HomeError(
                f"{self.certificate} and {self.key.name}: no server certificate and key"
            ) from error
        if certificate.public_key() != key.public_key():
            raise HomeError(f"{self.key}: not the key of {self.certificate.name}")
        now = dt.datetime.now(dt.UTC)
        for file, fix in (
            (self.certificate, "run `fedpriv coordinator certificate`"),
            (self.authority, "run `fedpriv coordinator certificate --new-authority` and enrol anew"),
        ):
            check_dates(file.read_bytes(), str(file), now, fix=fix)
        if ipaddress.ip_address(_LOOPBACK) not in names.get_values_for_type(x509.IPAddress):
            raise HomeError(
                f"{self.certificate}: does not name {_LOOPBACK}",
                hint="issue it for that address too: Flower's Control API serves the same certificate there",
            )


class SuperLink:
    """A SuperLink that runs from ``start`` to ``stop``, or as a context."""

    def __init__(self, folder: Path, addresses: Addresses, tls: TlsFiles) -> None:
        self._folder = folder
        self._addresses = addresses
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """The file that Flower's warnings and errors go to."""
        return self._folder / _LOG

    @property
    def process_id(self) -> int | None:
        """The child's process id; None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def bound_log(self) -> None:
        """Move what is in the log to ``superlink.log.1`` once it has 1 MB; the child goes on at its end."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > logs.FILE_BYTES:
                shutil.copyfile(self.log, self.log.with_name(f"{_LOG}.1"))
                os.truncate(self.log, 0)

    def start(self) -> None:
        """Start the child and return once all its APIs answer.

        A state that is damaged is set aside, and a new one begun, in which nobody is registered yet.
        HomeError if a port is taken or a TLS file is wrong; Unreachable if it ends or stays silent.
        """
        self._tls.check()
        for address in (self._addresses.fleet, self._addresses.serverappio, self._addresses.control):
            check_free(address)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._replace_damaged_state()
        with self.log.open("ab") as log:  # to append: see `bound_log`
            self._process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the coordinator, which then stops the child in order
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call, before any thread of ours
            )
        try:
            self._wait_until_ready(time.monotonic() + START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the child: TERM, then KILL after 10 s, as its exit can hang. Stopping twice is harmless."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _replace_damaged_state(self) -> None:
        """Put a new state in its place, whole, and keep the damaged one aside; nothing if it is sound."""
        state, aside = self._folder / DATABASE, self._folder / f"{DATABASE}.damaged"
        if not state.exists() or _is_sound(state):
            return
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            self._make_state(Path(place))
            _move_state(state, aside)
            _move_state(Path(place) / DATABASE, state)
        words = f"the state of Flower's SuperLink was damaged: set aside as {aside}, a new one is begun"
        logs.event(_log, "superlink_state_damaged", words, level=logging.WARNING)

    def _make_state(self, place: Path) -> None:
        """Have the tables made at addresses that nobody knows: who knocks meanwhile breaks that step."""
        addresses = Addresses(*(f"{_LOOPBACK}:{port}" for port in free_ports(3)))
        with SuperLink(place, addresses, self._tls) as alone:
            if alone._process is not None:
                alone._process.kill()  # an orderly end takes seconds more, and the tables are on disk

    def _command(self) -> list[str]:
        return [
            str(Path(sys.executable).with_name("flower-superlink")),
            *("--isolation", "process"),  # it starts no process of its own
            "--enable-supernode-auth",
            *("--ssl-certfile", str(self._tls.certificate.resolve())),
            *("--ssl-keyfile", str(self._tls.key.resolve())),
            *("--ssl-ca-certfile", str(self._tls.authority.resolve())),
            *("--database", str((self._folder / DATABASE).resolve())),
            *("--storage-dir", str((self._folder / "bundles").resolve())),
            *("--fleet-api-address", self._addresses.fleet),
            *("--serverappio-api-address", self._addresses.serverappio),
            *("--control-api-address", self._addresses.control),
        ]

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_HOME": str(self._folder.resolve()),
            "FLWR_LOG_LEVEL": "WARNING",  # at INFO every poll of every hospital is a line
        }

    def _wait_until_ready(self, deadline: float) -> None:
        # The first call makes the tables. Two nodes that call at once break that step, so ours comes first.
        waiting = [self._control_answers, self._serverappio_listens, self._fleet_listens]
        while waiting:
            if self.process_id is None:
                raise Unreachable("Flower's SuperLink ended while starting", hint=f"see {self.log}")
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"Flower's SuperLink did not answer within {START_TIMEOUT_S:.0f} s",
                    hint=f"see {self.log}",
                )
            if waiting[0]():
                waiting.pop(0)
            else:
                time.sleep(_POLL_S)

    def _control_answers(self) -> bool:
        credentials = grpc.ssl_channel_credentials(self._tls.authority.read_bytes())
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.secure_channel(self._addresses.control, credentials, options) as channel:
            try:
                channel.unary_unary(_FIRST_CALL)(b"", timeout=_CALL_TIMEOUT_S)
            except grpc.RpcError:
                return False
        return True

    def _serverappio_listens(self) -> bool:
        return _listens(self._addresses.serverappio)

    def _fleet_listens(self) -> bool:
        return _listens(self._addresses.fleet)


def _move_state(state: Path, to: Path) -> None:
    """Rename a database of SQLite with its log; nothing of what was at ``to`` stays."""
    for suffix in _SQLITE_FILES:
        Path(f"{to}{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            Path(f"{state}{suffix}").replace(f"{to}{suffix}")


def _is_sound(database: Path) -> bool:
    """Whether SQLite can read all of it; a disk that is full or read-only is another matter."""
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=1.0)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0)  # an error of Python's own module has none
        return code & 0xFF not in _DAMAGED  # the low byte is the primary code


def _end_with_parent() -> None:
    """Have Linux send TERM when the coordinator is gone, even killed: nobody else would stop the child."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def check_free(address: str) -> None:
    """Return only if nobody listens at ``address``, HOST:PORT, and we may; HomeError otherwise."""
    host, port = _split(address)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise HomeError(
            f"cannot listen on {address}: {(error.strerror or str(error)).lower()}",
            hint="stop what uses the port (another coordinator?) or change [listen] in coordinator.toml",
        ) from error


def _listens(address: str) -> bool:
    host, port = _split(address)
    with contextlib.suppress(OSError):
        socket.create_connection(
            (_LOOPBACK if host in _ANY_INTERFACE else host, port), _CALL_TIMEOUT_S
        ).close()
        return True
    return False
