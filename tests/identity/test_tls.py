import datetime as dt
import ipaddress
import socket
import ssl
import stat
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedpriv.errors import IdentityError
from fedpriv.identity import tls


@pytest.fixture(scope="module")
def credentials():
    return tls.new_server_credentials("demo", ["localhost", "127.0.0.1", "fed.example.org", "::1"])


def certificate_of(credentials):
    return x509.load_pem_x509_certificate(credentials.certificate_pem)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


def test_the_server_certificate_names_its_hosts_and_addresses(credentials):
    names = extension(certificate_of(credentials), x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "fed.example.org"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]


def test_the_authority_signs_servers_and_nothing_below(credentials):
    authority, server = credentials.authority.certificate, certificate_of(credentials)
    server.verify_directly_issued_by(authority)
    authority.verify_directly_issued_by(authority)
    assert extension(authority, x509.BasicConstraints) == x509.BasicConstraints(ca=True, path_length=0)
    assert extension(authority, x509.KeyUsage).key_cert_sign
    assert not extension(authority, x509.KeyUsage).digital_signature
    assert not extension(server, x509.BasicConstraints).ca
    assert not extension(server, x509.KeyUsage).key_cert_sign
    assert list(extension(server, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_keys_are_p_256_and_differ(credentials):
    keys = [credentials.authority.certificate.public_key(), certificate_of(credentials).public_key()]
    assert all(isinstance(key.curve, SECP256R1) for key in keys)
    assert keys[0] != keys[1]


def test_serials_are_random_and_validity_is_as_declared(credentials):
    again = tls.issue_server_credentials(credentials.authority, ["localhost"])
    one, other = certificate_of(credentials), certificate_of(again)
    assert one.serial_number != other.serial_number
    now, slack = dt.datetime.now(dt.UTC), dt.timedelta(minutes=10)
    for certificate, validity in [
        (credentials.authority.certificate, tls.AUTHORITY_VALIDITY),
        (one, tls.SERVER_VALIDITY),
    ]:
        assert abs(certificate.not_valid_before_utc - (now - tls.CLOCK_TOLERANCE)) < slack
        assert abs(certificate.not_valid_after_utc - (now + validity)) < slack


def test_no_key_is_printed(credentials):
    assert "key" not in repr(credentials.authority)
    assert "PRIVATE" not in repr(credentials)


@pytest.mark.parametrize(
    "hosts",
    [[], ["-a"], ["a b"], [""], ["*.example.org"], ["a" * 64], ["a." * 127], ["1.2.3.4/8"], ["http://x"]],
)
def test_what_is_no_host_is_refused(credentials, hosts):
    with pytest.raises(IdentityError, match="host name"):
        tls.issue_server_credentials(credentials.authority, hosts)


def test_what_is_saved_is_private_and_loaded(credentials, tmp_path):
    folder = tmp_path / "tls"
    tls.save(credentials, folder)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(["ca.crt", "ca.key", "server.crt", "server.key"], 0o600)
    assert (folder / tls.SERVER_KEY_FILE).read_bytes() == credentials.key_pem
    authority = tls.load_authority(folder)
    assert authority.certificate_pem == credentials.authority.certificate_pem
    certificate_of(tls.issue_server_credentials(authority, ["again"])).verify_directly_issued_by(
        credentials.authority.certificate
    )


def test_a_broken_or_foreign_authority_is_refused(credentials, tmp_path):
    folder = tmp_path / "tls"
    tls.save(credentials, folder)
    for key in (generate_private_key(SECP256R1()), Ed25519PrivateKey.generate()):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / tls.CA_KEY_FILE).write_bytes(pem)
        with pytest.raises(IdentityError, match=r"ca\.key is not the key of ca\.crt"):
            tls.load_authority(folder)
    (folder / tls.CA_KEY_FILE).write_bytes(b"nothing")
    with pytest.raises(IdentityError, match="holds no certificate authority"):
        tls.load_authority(folder)
    (folder / tls.CA_KEY_FILE).chmod(0o640)
    with pytest.raises(IdentityError, match="open to other users"):
        tls.load_authority(folder)


def handshake(credentials, trusted_pem, host, tmp_path):
    """One TLS handshake over a socket pair; the name that the client checked, or its error."""
    (tmp_path / "crt").write_bytes(credentials.certificate_pem)
    (tmp_path / "key").write_bytes(credentials.key_pem)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    client_context = ssl.create_default_context(cadata=trusted_pem)
    ours, theirs = socket.socketpair()

    def serve():
        try:
            server_context.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_context.wrap_socket(ours, server_hostname=host) as connection:
            return connection.version()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "fed.example.org", "::1"])
def test_a_tls_client_that_trusts_the_roster_connects(credentials, host, tmp_path):
    assert handshake(credentials, credentials.authority.certificate_pem, host, tmp_path) == "TLSv1.3"


def test_another_host_name_and_another_authority_are_rejected(credentials, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(credentials, credentials.authority.certificate_pem, "other.example.org", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(credentials, tls.new_authority("demo").certificate_pem, "localhost", tmp_path)


def test_dates_are_checked_and_named(credentials):
    now = dt.datetime.now(dt.UTC)
    pem = credentials.certificate_pem
    tls.check_dates(pem, "it", now, fix="renew it")
    tls.check_dates(pem.decode(), "it", now, fix="renew it")
    with pytest.raises(IdentityError, match=r"it expired on \d{4}-\d\d-\d\d") as error:
        tls.check_dates(pem, "it", now + tls.SERVER_VALIDITY + dt.timedelta(days=1), fix="renew it")
    assert error.value.hint == "is the clock right? if so, renew it"
    with pytest.raises(IdentityError, match=r"it is not valid before .* UTC, and it is") as error:
        tls.check_dates(pem, "it", now - dt.timedelta(days=1), fix="renew it")
    assert error.value.hint == "set the clock"


def test_the_hosts_of_a_certificate_are_read_back(credentials):
    hosts = ("localhost", "fed.example.org", "127.0.0.1", "::1")
    assert tls.server_hosts(credentials.certificate_pem) == hosts
    for pem in (b"no certificate", credentials.authority.certificate_pem.encode()):
        with pytest.raises(IdentityError, match="no server certificate in PEM"):
            tls.server_hosts(pem)
