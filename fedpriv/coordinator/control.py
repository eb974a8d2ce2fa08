"""Flower's Control API: who may connect, and which run is open.

It asks for no login, so it is on loopback. flwr promises nothing of it (see `fedpriv.flower_wire`).
"""

from __future__ import annotations

import fedpriv.flower_wire  # noqa: F401 # isort: skip - before flwr and gRPC

import hashlib
import io
import time
import zipfile
from typing import TYPE_CHECKING, Any

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from flwr.common.constant import Status
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.control_pb2_grpc import ControlStub
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.constant import NodeStatus

from fedpriv.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from flwr.proto.node_pb2 import NodeInfo

_TIMEOUT_S, _RETRY_S = 15.0, 0.5
_STARTING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN}  # its first calls may trip over each other

_PYPROJECT = """\
[project]
name = "fedpriv"
version = "1.0.0"

[tool.flwr.app]
publisher = "fedpriv"

[tool.flwr.app.components]
serverapp = "none:none"
clientapp = "none:none"
"""
_README = (
    "This bundle holds no code. Hospitals run what is installed on their own machines, never a bundle.\n"
)


class Members:
    """The hospitals as the SuperLink knows them, over its Control API.

    ``root_certificate`` is the PEM of the authority of the SuperLink's certificate; ``hospitals`` maps each
    name to its P-384 public key as one OpenSSH line, straight from the roster: it alone decides which node
    is which hospital. ``retired`` are keys of earlier rosters, which are shut out. A SuperLink that is away
    is tried for ``patience_s``; then every method raises Unreachable.
    """

    def __init__(
        self,
        *,
        control_address: str,
        root_certificate: bytes,
        hospitals: Mapping[str, bytes],
        retired: Collection[bytes] = (),
        patience_s: float = 0.0,
    ) -> None:
        self._control = Control(control_address, root_certificate, patience_s)
        self._name_of = {_to_pem(line): name for name, line in hospitals.items()}
        self._retired = set(map(_to_pem, retired))

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted(self._name_of.values()))

    def register(self) -> None:
        """Let those connect that cannot yet, and those no more whose keys are retired.

        Flower forgets no key: one taken out can never come back. That is the rule of rosters as well.
        The door and a round may do this at once: what another did meanwhile is done.
        """
        nodes = self._control.nodes()
        for key in self._name_of.keys() - {node.public_key for node in nodes}:
            try:
                self._control.register(key)
            except Unreachable:
                if key not in {node.public_key for node in self._control.nodes()}:
                    raise
        for node in nodes:
            if node.public_key in self._retired and node.status != NodeStatus.UNREGISTERED:
                self._control.unregister(node.node_id)

    def online(self) -> set[str]:
        """Those that are connected; one that was killed leaves the set within 60 s."""
        return {self._name_of[node.public_key] for node in self._nodes() if node.status == NodeStatus.ONLINE}

    def node_ids(self) -> dict[str, int]:
        """Flower's number for each."""
        return {self._name_of[node.public_key]: node.node_id for node in self._nodes()}

    def _nodes(self) -> list[NodeInfo]:
        """The registered nodes that are in the roster; all others are ignored."""
        return [node for node in self._control.nodes() if node.public_key in self._name_of]


class Control:
    """Its calls, each on a new connection; Unreachable if there is none for ``patience_s``."""

    def __init__(self, address: str, root_certificate: bytes, patience_s: float) -> None:
        self._address = address
        self._patience_s = patience_s
        self._credentials = grpc.ssl_channel_credentials(root_certificate)

    def nodes(self) -> list[NodeInfo]:
        """Every registered node."""
        return list(self._call("ListNodes", ListNodesRequest()).nodes_info)

    def register(self, public_key_pem: bytes) -> None:
        """Let the holder of this key connect."""
        self._call("RegisterNode", RegisterNodeRequest(public_key=public_key_pem))

    def unregister(self, node_id: int) -> None:
        """Shut this node and its key out for good."""
        self._call("UnregisterNode", UnregisterNodeRequest(node_id=node_id))

    def runs(self) -> dict[int, bool]:
        """The number of each run, and whether it has ended."""
        runs = self._call("ListRuns", ListRunsRequest()).run_dict
        return {run_id: run.status.status == Status.FINISHED for run_id, run in runs.items()}

    def unfinished_runs(self) -> list[int]:
        """The runs that were started and not ended."""
        return [run_id for run_id, ended in self.runs().items() if not ended]

    def stop_run(self, run_id: int) -> None:
        """End a run and delete its messages and objects."""
        self._call("StopRun", StopRunRequest(run_id=run_id))

    def start_run(self) -> int:
        """Open a run whose bundle holds no code; Flower refuses one without a pyproject."""
        bundle = _bundle()
        fab = Fab(hash_str=hashlib.sha256(bundle).hexdigest(), content=bundle)
        return int(self._call("StartRun", StartRunRequest(fab=fab)).run_id)

    def _call(self, name: str, request: object) -> Any:  # noqa: ANN401 - grpc carries no types
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                with grpc.secure_channel(self._address, self._credentials) as channel:
                    return getattr(ControlStub(channel), name)(request, timeout=_TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() not in _STARTING or time.monotonic() > give_up:
                    reason = str(error.details()).rpartition(": ")[2].lower()  # first comes what was tried
                    raise Unreachable(
                        f"no coordinator answers at {self._address} (Flower's Control API): {reason}",
                        hint="is `fedpriv coordinator start` running?",
                    ) from error
            time.sleep(_RETRY_S)


def _bundle() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in (("pyproject.toml", _PYPROJECT), ("README.md", _README)):
            archive.writestr(zipfile.ZipInfo(name), text)
    return packed.getvalue()


def _to_pem(openssh_line: bytes) -> bytes:
    """The form in which flwr 1.27 compares keys, byte for byte."""
    key = load_ssh_public_key(openssh_line)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
