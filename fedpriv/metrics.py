"""Where Prometheus may read numbers: one address, plain HTTP, no login, nothing to change there."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from fedpriv.errors import FedprivError, HomeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    Labelled = tuple[dict[str, str], float | None]
    Look = Callable[[], Iterable[Metric]]

_LARGEST_PORT = 65_535

_log = logging.getLogger(__name__)


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[metrics]``: ``listen`` is HOST:PORT. Whoever reaches it reads everything there."""

    listen: str


@contextlib.contextmanager
def served(metrics: Metrics | None, look: Look) -> Iterator[None]:
    """Answer with what ``look`` gives at each scrape; without ``metrics`` nobody listens.

    HomeError if the address is none, or taken. A ``look`` that fails leaves ``fedpriv_readable`` 0.
    """
    if metrics is None:
        yield
        return
    from prometheus_client import CollectorRegistry, start_http_server

    host, port = _split(metrics.listen)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(look))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise HomeError(
            f"cannot listen on {metrics.listen} for metrics: {(error.strerror or str(error)).lower()}",
            hint="stop what uses the port, or change [metrics]",
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def gauge(name: str, help_text: str, values: Iterable[Labelled]) -> Metric:
    """A number that goes up and down, once for each set of labels; None leaves that one out."""
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily, name, help_text, values)


def counter(name: str, help_text: str, values: Iterable[Labelled]) -> Metric:
    """A number that only grows; the library appends ``_total`` to ``name``."""
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily, name, help_text, values)


def _filled(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, help_text: str, values: Iterable[Labelled]
) -> Metric:
    known = [(labels, value) for labels, value in values if value is not None]
    family = kind(name, help_text, labels=list(known[0][0]) if known else [])
    for labels, value in known:
        family.add_metric(list(labels.values()), value)
    return family


class _Collector:
    """What the library asks at each scrape. Nothing a scraper does may end in a traceback."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Every metric that ``look`` gives, and whether it could."""
        readable = 1
        try:
            yield from self._look()
        except (FedprivError, OSError) as error:
            _log.warning("metrics cannot be read: %s", type(error).__name__)
            readable = 0
        help_text = "1 if every metric could be read, 0 if some are missing."
        yield gauge("fedpriv_readable", help_text, [({}, readable)])


def _split(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= _LARGEST_PORT:
        raise HomeError(
            f"[metrics] listen = {listen!r} is no HOST:PORT with a port from 1 to 65535",
            hint="such as 127.0.0.1:9094",
        )
    return host.strip("[]"), int(port)
