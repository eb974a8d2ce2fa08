"""The coordinator's home folder: ``coordinator.toml``, its keys, the roster, Flower's state and the runs.

coordinator.toml        addresses and deadlines
identity/  tls/         the operator's keys, and those of its TLS certificate (0600)
roster.toml             who the hospitals are
flower/                 the SuperLink's state and log
logs/                   what `coordinator start` and `round` did
traffic.json            bytes of all exchanges so far (see `fedpriv.coordinator.traffic`)
runs/<run>/             what each run leaves (see `fedpriv.coordinator.run_folder`)
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec

from fedpriv import file_lock
from fedpriv.all_or_nothing import all_or_nothing
from fedpriv.errors import HomeError
from fedpriv.identity import keys, tls
from fedpriv.identity.roster import Operator, Roster, load_roster
from fedpriv.metrics import Metrics
from fedpriv.toml_files import dump_toml, read_toml, write_new_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = "coordinator.toml"
LOCK_FILE = "rounds.lock"
LOOPBACK = "127.0.0.1"
_LARGEST_PORT = 65_535

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the coordinator listens, each HOST:PORT.

    Only ``fleet`` is for the hospitals. Flower asks no login at ``serverappio`` and ``control``, so they
    must stay on 127.0.0.1.
    """

    fleet: str
    serverappio: str
    control: str


class Deadlines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a hospital may take, in seconds, before the round goes on without it.

    ``join_s`` to come online before a round, ``answer_s`` for a short message, ``training_s`` for the
    stage in which it trains.
    """

    join_s: Seconds = 60.0
    answer_s: Seconds = 60.0
    training_s: Seconds = 1800.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``coordinator.toml``; without ``[metrics]`` nobody can read any."""

    listen: Listen
    deadlines: Deadlines = Deadlines()
    metrics: Metrics | None = None


@dataclass(frozen=True, slots=True)
class CoordinatorHome:
    """An existing home and its configuration."""

    folder: Path
    config: Config

    @property
    def identity_folder(self) -> Path:
        """The operator's private keys."""
        return self.folder / "identity"

    @property
    def tls_folder(self) -> Path:
        """The certificate authority and the server's certificate."""
        return self.folder / "tls"

    @property
    def flower_folder(self) -> Path:
        """The SuperLink's state."""
        return self.folder / "flower"

    @property
    def logs_folder(self) -> Path:
        """Log files of the commands that stay."""
        return self.folder / "logs"

    @property
    def traffic_path(self) -> Path:
        """How many bytes all exchanges had."""
        return self.folder / "traffic.json"

    @property
    def pulse_path(self) -> Path:
        """Where `coordinator start` says how it is (see `fedpriv.pulse`)."""
        return self.folder / "coordinator.pulse"

    @property
    def roster_path(self) -> Path:
        """The roster that the ceremony produced."""
        return self.folder / "roster.toml"

    @property
    def runs_folder(self) -> Path:
        """One folder a run."""
        return self.folder / "runs"

    def identity(self) -> keys.Identity:
        """The operator's keys."""
        return keys.load(self.identity_folder)

    def operator(self) -> Operator:
        """The coordinator's own entry in a roster."""
        identity = self.identity()
        authority = tls.load_authority(self.tls_folder)
        return Operator(identity.name, identity.signing_public_key, authority.certificate_pem)

    @contextlib.contextmanager
    def one_command(self) -> Iterator[None]:
        """Keep other commands from running rounds meanwhile; HomeError if one does."""
        busy = HomeError(
            f"another command is running rounds in {self.folder}", hint="wait for it, or stop it with Ctrl-C"
        )
        descriptor = file_lock.acquire(self.folder / LOCK_FILE, busy)
        try:
            yield
        finally:
            os.close(descriptor)

    def roster(self) -> Roster:
        """The roster; HomeError says how to make one, or that it names another coordinator."""
        if not self.roster_path.exists():
            raise HomeError(
                f"{self.roster_path}: no roster yet",
                hint="`fedpriv keys enrol` collects the hospitals' requests into one",
            )
        roster = load_roster(self.roster_path)
        if roster.coordinator != self.operator():
            raise HomeError(
                f"{self.roster_path} names another coordinator, {roster.coordinator.name}",
                hint="enrol the hospitals with this coordinator's keys, or use the home it was made for",
            )
        return roster


def init_home(
    folder: Path,
    *,
    name: str,
    hosts: tuple[str, ...],
    listen: Listen,
    deadlines: Deadlines,
    metrics: Metrics | None = None,
) -> CoordinatorHome:
    """Make a home with fresh keys and a TLS certificate for ``hosts``; refuse one that exists."""
    path = folder / CONFIG
    config = _checked(Config(listen, deadlines, metrics), str(path))
    if path.exists():
        raise HomeError(f"{path}: there is a coordinator already", hint="choose another --home")
    home = CoordinatorHome(folder, config)
    hosts = tuple(dict.fromkeys([*hosts, LOOPBACK]))  # the loopback-only APIs serve the same certificate
    identity, credentials = keys.new_identity(name), tls.new_server_credentials(name, hosts)
    with all_or_nothing(home.identity_folder, home.tls_folder):
        keys.save(identity, home.identity_folder)
        tls.save(credentials, home.tls_folder)
        write_new_file(path, dump_toml(config), HomeError)
    return home


def open_home(folder: Path) -> CoordinatorHome:
    """Open an existing home; HomeError says what is missing or wrong."""
    path = folder / CONFIG
    if not path.exists():
        raise HomeError(
            f"{path}: no coordinator here",
            hint="`fedpriv coordinator init` makes one; or name the right --home",
        )
    return CoordinatorHome(folder, _checked(read_toml(path, Config, HomeError), str(path)))


def neighbours(fleet: str) -> Listen:
    """Listen at ``fleet`` for the hospitals and on the ports beside it, on loopback, for the operator."""
    port = _port(fleet, "--listen")
    return Listen(fleet=fleet, serverappio=f"{LOOPBACK}:{port - 1}", control=f"{LOOPBACK}:{port + 1}")


def metrics_beside(fleet: str) -> Metrics:
    """Metrics on the second port after ``fleet``'s, on loopback."""
    return Metrics(f"{LOOPBACK}:{_port(fleet, '--listen') + 2}")


def _checked(config: Config, source: str) -> Config:
    listen = config.listen
    ports = [_port(address, source) for address in (listen.fleet, listen.serverappio, listen.control)]
    if len(set(ports)) < len(ports):
        raise HomeError(f"{source}: [listen] uses a port twice: {', '.join(map(str, sorted(ports)))}")
    if config.metrics is not None and _port(config.metrics.listen, source) in ports:
        raise HomeError(f"{source}: [metrics] listen = {config.metrics.listen!r}: [listen] has that port")
    for key, address in (("serverappio", listen.serverappio), ("control", listen.control)):
        if not address.startswith(f"{LOOPBACK}:"):
            raise HomeError(
                f"{source}: [listen] {key} = {address!r}: Flower asks no login there",
                hint=f"it must stay on {LOOPBACK}",
            )
    return config


def _port(address: str, source: str) -> int:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 1 < int(port) < _LARGEST_PORT:
        raise HomeError(
            f"{source}: {address!r} is no HOST:PORT with a port from 2 to 65534", hint="such as 0.0.0.0:9092"
        )
    return int(port)
