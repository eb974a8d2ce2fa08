"""The coordinator's own certificate authority, and the TLS certificate of its public address.

Hospitals trust exactly this authority: its certificate is part of the roster, so the transport rests on the
same fingerprint that was read over the phone, and on no public authority. The authority's key never leaves
the coordinator (0600). Keys are EC P-256; profiles follow RFC 5280, names RFC 6125.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedpriv.errors import IdentityError
from fedpriv.identity.private_files import read_private_file, write_private_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AUTHORITY_VALIDITY = dt.timedelta(days=10 * 365)
SERVER_VALIDITY = dt.timedelta(days=397)
# Certificates are valid a little before they are made: hospitals' clocks differ.
CLOCK_TOLERANCE = dt.timedelta(hours=1)

CA_CERTIFICATE_FILE = "ca.crt"
CA_KEY_FILE = "ca.key"
SERVER_CERTIFICATE_FILE = "server.crt"
SERVER_KEY_FILE = "server.key"

_HOST = re.compile(r"(?!-)[a-zA-Z0-9-]{1,63}(?<!-)(\.(?!-)[a-zA-Z0-9-]{1,63}(?<!-))*")
_LONGEST_HOST = 253


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority; the key is shown nowhere."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> str:
        """What goes into the roster, and what hospitals trust."""
        return self.certificate.public_bytes(Encoding.PEM).decode("ascii")


@dataclass(frozen=True, slots=True)
class ServerCredentials:
    """The certificate of the coordinator's address and its private key, both in PEM, and who signed it."""

    authority: Authority
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


def new_server_credentials(name: str, hosts: Sequence[str]) -> ServerCredentials:
    """A fresh authority called after ``name``, and a server certificate for ``hosts`` signed by it."""
    return issue_server_credentials(new_authority(name), hosts)


def new_authority(name: str) -> Authority:
    """A fresh authority that may sign server certificates and nothing below them."""
    key = generate_private_key(SECP256R1())
    subject = _common_name(f"{name} certificate authority")
    builder = _builder(subject, subject, key, AUTHORITY_VALIDITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    return Authority(builder.sign(key, SHA256()), key)


def issue_server_credentials(authority: Authority, hosts: Sequence[str]) -> ServerCredentials:
    """A server certificate with a fresh key for ``hosts``, each a host name or an IP address.

    IdentityError if there is no host, or one is neither.
    """
    names = [_general_name(host) for host in hosts]
    if not names:
        raise IdentityError("a server certificate needs at least one host name or IP address")
    key = generate_private_key(SECP256R1())
    issuer = authority.certificate
    builder = _builder(_common_name("fedpriv coordinator"), issuer.subject, key, SERVER_VALIDITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
    )
    certificate = builder.sign(authority.key, SHA256())
    return ServerCredentials(authority, certificate.public_bytes(Encoding.PEM), _to_pem(key))


def save(credentials: ServerCredentials, folder: Path) -> None:
    """Write ca.crt, ca.key, server.crt and server.key to the new ``folder`` (0700, files 0600)."""
    write_private_folder(
        folder,
        {
            CA_CERTIFICATE_FILE: credentials.authority.certificate_pem.encode(),
            CA_KEY_FILE: _to_pem(credentials.authority.key),
            SERVER_CERTIFICATE_FILE: credentials.certificate_pem,
            SERVER_KEY_FILE: credentials.key_pem,
        },
    )


def check_dates(pem: str | bytes, what: str, now: dt.datetime, *, fix: str) -> None:
    """Return only if the certificate in ``pem`` is valid at ``now`` (aware of its time zone).

    ``what`` it is and how to ``fix`` it are for the message of the IdentityError.
    """
    certificate = x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        raise IdentityError(f"{what} expired on {ends:%Y-%m-%d}", hint=f"is the clock right? if so, {fix}")
    if now < begins:
        raise IdentityError(
            f"{what} is not valid before {begins:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M} here",
            hint="set the clock",
        )


def server_hosts(pem: bytes) -> tuple[str, ...]:
    """The host names and addresses that a server certificate is for; IdentityError if it is none."""
    try:
        names = (
            x509.load_pem_x509_certificate(pem)
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value
        )
    except (ValueError, x509.ExtensionNotFound) as error:
        raise IdentityError("no server certificate in PEM") from error
    return (
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    )


def load_authority(folder: Path) -> Authority:
    """The authority that ``save`` wrote; IdentityError if it is missing, broken or open to others."""
    certificate_pem = read_private_file(folder / CA_CERTIFICATE_FILE)
    key_pem = read_private_file(folder / CA_KEY_FILE)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"{folder} holds no certificate authority") from error
    if not isinstance(key, EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        raise IdentityError(f"{folder / CA_KEY_FILE} is not the key of {CA_CERTIFICATE_FILE}")
    return Authority(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, validity: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(now + validity)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if len(host) > _LONGEST_HOST or not _HOST.fullmatch(host):
            raise IdentityError(f"{host!r} is neither a host name nor an IP address") from None
        return x509.DNSName(host)


def _to_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
