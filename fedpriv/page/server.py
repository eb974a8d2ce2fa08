"""gunicorn around the page: workers are forked first, then each loads the model for itself."""

from __future__ import annotations

import resource
import socket
import ssl
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from fedpriv.errors import FedprivError, InputError
from fedpriv.page.config import PRIVATE_UMASK
from fedpriv.page.logs import ServerLogger
from fedpriv.page.settings import CACHE_TABLE, set_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gunicorn.arbiter import Arbiter
    from gunicorn.config import Config
    from gunicorn.workers.base import Worker

    from fedpriv.page.config import PageConfig

THREADS = 8
"""Requests that one worker takes at a time: each holds its upload in memory."""

SILENCE_S = 15
"""A client that sends or takes nothing for so long in the middle of a request is hung up on."""


KEEP_ALIVE_S = 15
"""A browser may take its time between two requests on one connection; no thread waits for it."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the page listens, and with which TLS files, if any; ``certificate`` may hold a chain."""

    host: str
    port: int
    workers: int
    certificate: Path | None = None
    key: Path | None = None

    @property
    def address(self) -> str:
        """HOST:PORT, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def check_listen(listen: Listen, *, behind_proxy: bool) -> None:
    """Raise InputError if passwords and smears would travel unencrypted, or nothing can listen there."""
    if (listen.certificate is None) != (listen.key is None):
        raise InputError("--cert and --key go together", hint="give both, or neither")
    if listen.certificate is None and not behind_proxy and not _is_loopback(listen.host):
        raise InputError(
            f"--host {listen.host}: smears and passwords would travel unencrypted",
            hint="give --cert and --key, or --behind-proxy if a proxy speaks TLS, or stay on 127.0.0.1",
        )
    if listen.certificate is not None:
        try:
            _tls(listen)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"{listen.certificate} and {listen.key} cannot be used: {error.strerror or error}",
                hint="both in PEM, the key without a password",
            ) from error
    try:
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((listen.host, listen.port))
    except OSError as error:
        raise InputError(
            f"cannot listen on {listen.address}: {(error.strerror or str(error)).lower()}",
            hint="choose another --port or --host",
        ) from error


def serve(config: PageConfig, listen: Listen, on_ready: Callable[[], None]) -> None:
    """Serve until a signal ends it; ``on_ready`` is called in the first worker that has loaded the model."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not write memory to the disk
    set_up(config)
    prepare_tables()
    try:
        _Page(config, listen, on_ready).run()
    except SystemExit as end:
        if end.code:
            raise FedprivError("the page has stopped", hint="the lines above say why") from end


def prepare_tables() -> None:
    """Make or update the tables; then let go of the connection, which must not cross a fork."""
    from django.core.management import call_command
    from django.db import DatabaseError, connections

    try:
        call_command("migrate", verbosity=0, interactive=False)
        call_command("createcachetable", CACHE_TABLE, verbosity=0)
    except DatabaseError as error:
        first, _, _ = str(error).partition("\n")
        raise InputError(f"the database cannot be used: {first}") from error
    finally:
        connections.close_all()


def findings() -> list[str]:
    """What Django's checks for deployment find in the settings that are in force, one line each."""
    from django.conf import settings
    from django.core.checks import run_checks

    return [
        f"{found.id}: {found.msg}"
        for found in run_checks(include_deployment_checks=True)
        if found.id not in settings.SILENCED_SYSTEM_CHECKS
    ]


class _Page(BaseApplication):
    """gunicorn without its command line and without configuration files."""

    def __init__(self, config: PageConfig, listen: Listen, on_ready: Callable[[], None]) -> None:
        self.page = config
        self.listen = listen
        self.on_ready = on_ready
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        from django.core.wsgi import get_wsgi_application

        return get_wsgi_application()

    def _options(self) -> dict[str, object]:
        options: dict[str, object] = {
            "bind": self.listen.address,
            "workers": self.listen.workers,
            "worker_class": "gthread",
            "threads": THREADS,
            "keepalive": KEEP_ALIVE_S,
            "proc_name": "fedpriv-page",
            "umask": PRIVATE_UMASK,
            "control_socket_disable": True,
            "logger_class": ServerLogger,
            "when_ready": _hang_up_on_silence,
            "post_worker_init": self._load_model,
        }
        if self.listen.certificate is not None:
            options |= {
                "certfile": str(self.listen.certificate),
                "keyfile": str(self.listen.key),
                "ssl_context": self._ssl_context,
            }
        return options

    def _ssl_context(self, _config: Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        return _tls(self.listen)

    def _load_model(self, worker: Worker) -> None:
        from fedpriv.page import inference

        if self.page.model is not None:
            inference.load(self.page.model)
        if worker.age == 1:
            self.on_ready()


def _hang_up_on_silence(arbiter: Arbiter) -> None:
    """Give connections a time limit for each read and write; they inherit it from the socket that listens.

    Python's TLS sockets try again when that limit of the system passes: see `_Impatient`.
    """
    limit = struct.pack("ll", SILENCE_S, 0)
    for listener in arbiter.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


class _Impatient(ssl.SSLSocket):
    """A TLS connection that never blocks for ever, though gunicorn asks it to."""

    def settimeout(self, value: float | None) -> None:
        """Take a limit instead of none."""
        super().settimeout(SILENCE_S if value is None else value)

    def setblocking(self, flag: bool) -> None:
        """Block for a while."""
        self.settimeout(None if flag else 0.0)


def _tls(listen: Listen) -> ssl.SSLContext:
    """TLS 1.2 or newer with the given certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = _Impatient
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(str(listen.certificate), str(listen.key), password=_no_password)
    return context


def _no_password() -> str:
    """Stand for a prompt that would stop a server."""
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
