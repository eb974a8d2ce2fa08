"""Ask the page on this machine whether it answers: what a container's health check does."""

from __future__ import annotations

import http.client
import ssl

from fedpriv.errors import Refused

PATIENCE_S = 5.0


def check(port: int, *, tls: bool) -> None:
    """Refused unless the page answers on loopback at ``port``.

    With ``tls`` its certificate is not checked: it holds another name than the one of loopback.
    """
    try:
        connection = _connection(port, tls=tls)
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"the page does not answer on 127.0.0.1:{port}") from error
    if status != http.client.OK:
        raise Refused(f"what answers on 127.0.0.1:{port} is not the page, or is not well: status {status}")


def _connection(port: int, *, tls: bool) -> http.client.HTTPConnection:
    """One that asks no proxy on the way, whatever the environment says."""
    if not tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_S, context=context)
