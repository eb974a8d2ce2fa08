"""A coordinator's SuperLink and hospitals that only echo, as real processes on loopback."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.ports import free_port

from fedpriv.coordinator.flower import FlowerLink
from fedpriv.coordinator.superlink import Addresses, SuperLink, TlsFiles
from fedpriv.identity import keys, tls

NODE = Path(__file__).parent.parent / "end_to_end" / "echo_node.py"
NAMES = ("north", "south", "west")


def at(address) -> str:
    return f"{address.ip.removeprefix('::ffff:')}:{address.port}" if address else ""


def wait_until(condition, within_s: float) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.05)
    return time.monotonic() - began


@dataclass
class Node:
    """A running echo_node.py and what it printed."""

    process: subprocess.Popen
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text()

    def states(self) -> list[str]:
        return re.findall(r"^[\d.]+ (connecting|connected|lost|refused|untrusted)$", self.text, re.MULTILINE)


@dataclass
class Place:
    """A coordinator's folder, its SuperLink and the hospitals' keys."""

    folder: Path
    credentials: tls.ServerCredentials = field(
        default_factory=lambda: tls.new_server_credentials("test", ["127.0.0.1"])
    )
    identities: dict[str, keys.Identity] = field(
        default_factory=lambda: {name: keys.new_identity(name) for name in NAMES}
    )
    nodes: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tls.save(self.credentials, self.folder / "tls")
        self.addresses = Addresses(*(f"127.0.0.1:{free_port()}" for _ in range(3)))
        self.superlink = SuperLink(self.folder / "flower", self.addresses, self.tls_files)

    @property
    def tls_files(self) -> TlsFiles:
        tls_folder = self.folder / "tls"
        return TlsFiles(tls_folder / "server.crt", tls_folder / "server.key", tls_folder / "ca.crt")

    @property
    def authority(self) -> bytes:
        return self.credentials.authority.certificate_pem.encode()

    @property
    def members(self) -> dict:
        return {
            "control_address": self.addresses.control,
            "root_certificate": self.authority,
            "hospitals": {name: identity.link_public_key for name, identity in self.identities.items()},
        }

    def link(self) -> FlowerLink:
        return FlowerLink(serverappio_address=self.addresses.serverappio, **self.members)

    def start_node(
        self, name: str, identity: keys.Identity | None = None, authority: bytes | None = None
    ) -> Node:
        key = self.folder / f"{name}.pem"
        link_key = (identity or self.identities[name]).link_key
        key.write_bytes(link_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        ca = self.folder / f"{name}.crt"
        ca.write_bytes(authority or self.authority)
        output = self.folder / f"{name}-{time.monotonic_ns()}.out"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, str(NODE), self.addresses.fleet, str(ca), str(key)],
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        self.nodes[name] = Node(process, output)
        return self.nodes[name]

    def close(self) -> None:
        for node in self.nodes.values():
            node.process.kill()
            node.process.wait()
        self.superlink.stop()
