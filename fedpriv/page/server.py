"""gunicorn around the page: workers are forked first, then each loads the model for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from fedpriv.page.settings import set_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gunicorn.workers.base import Worker

    from fedpriv.page.config import PageConfig

THREADS = 8
"""Requests that one worker takes at a time: each holds its upload in memory."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the page listens, and with which TLS files, if any."""

    host: str
    port: int
    workers: int
    certificate: Path | None = None
    key: Path | None = None


def serve(config: PageConfig, listen: Listen) -> None:
    """Serve until a signal ends it."""
    set_up(config)
    prepare_tables()
    _Page(config, listen).run()


def prepare_tables() -> None:
    """Make or update the tables; then let go of the connection, which must not cross a fork."""
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0, interactive=False)
    connections.close_all()


class _Page(BaseApplication):  # type: ignore[misc]
    """gunicorn without its command line and without configuration files."""

    def __init__(self, config: PageConfig, listen: Listen) -> None:
        self.page = config
        self.listen = listen
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        from django.core.wsgi import get_wsgi_application

        return get_wsgi_application()

    def _options(self) -> dict[str, object]:
        host = f"[{self.listen.host}]" if ":" in self.listen.host else self.listen.host
        options: dict[str, object] = {
            "bind": f"{host}:{self.listen.port}",
            "workers": self.listen.workers,
            "worker_class": "gthread",
            "threads": THREADS,
            "proc_name": "fedpriv-page",
            "umask": 0o077,
            "control_socket_disable": True,
            "post_worker_init": self._load_model,
        }
        if self.listen.certificate is not None:
            options |= {"certfile": str(self.listen.certificate), "keyfile": str(self.listen.key)}
        return options

    def _load_model(self, _worker: Worker) -> None:
        from fedpriv.page import inference

        if self.page.model is not None:
            inference.load(self.page.model)
