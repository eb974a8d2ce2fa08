"""Whether the coordinator can be reached and is the one of the roster: one TLS handshake, nothing sent.

It takes no part in Flower's protocol, so it leaves no trace there and works while the node runs.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from cryptography import x509

from fedpriv.diagnosis import Diagnosis, Health, dated

if TYPE_CHECKING:
    import datetime as dt

    from fedpriv.identity.roster import Roster

_TIMEOUT_S = 5.0
_NOT_YET_VALID, _EXPIRED = 9, 10
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


def authority_diagnosis(roster: Roster, now: dt.datetime) -> Diagnosis:
    """How long the roster's own certificate authority is good for; ``now`` is aware of its time zone."""
    certificate = x509.load_pem_x509_certificate(roster.coordinator.ca_certificate.encode())
    return dated("authority", certificate, now, fix="the operator makes a new authority and roster")


def coordinator_diagnosis(address: str, roster: Roster, now: dt.datetime) -> Diagnosis:
    """Shake hands with ``address``, HOST:PORT, trusting the roster's authority alone."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cadata=roster.coordinator.ca_certificate)
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, int(port)), timeout=_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        return _distrusted(address, error)
    except ssl.SSLError as error:
        return _failed(
            f"{address} answers, but not with TLS ({error.reason})", "check the address and the port"
        )
    except OSError as error:
        reason = error.strerror or "no answer in time"
        return _failed(
            f"{address} does not answer: {reason.lower()}",
            "ask the operator whether the coordinator is open; check the network and the firewall",
        )
    if certificate is None:
        return _failed(f"{address} shows no certificate", "check the address and the port")
    return dated(
        "coordinator",
        x509.load_der_x509_certificate(certificate),
        now,
        prefix=f"{address} answers over TLS as the roster says; ",
        fix="the operator issues a new server certificate",
    )


def _distrusted(address: str, error: ssl.SSLCertVerificationError) -> Diagnosis:
    if error.verify_code in {_NOT_YET_VALID, _EXPIRED}:
        state = "not valid yet" if error.verify_code == _NOT_YET_VALID else "no longer valid"
        return _failed(
            f"{address}: its certificate is {state} by this machine's clock",
            "set the clock; if it is right, the operator issues a new server certificate",
        )
    return _failed(
        f"{address} is not the coordinator of the pinned roster: {error.verify_message}",
        "check the address; if it is right, ask the operator which roster is in force, by phone",
    )


def _failed(found: str, fix: str) -> Diagnosis:
    return Diagnosis("coordinator", Health.FAIL, found, fix)
