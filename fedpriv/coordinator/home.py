"""The coordinator's home folder: ``coordinator.toml``, its keys, the roster, Flower's state and the runs.

    coordinator.toml        addresses and deadlines
    identity/               the operator's Ed25519 key and the TLS keys (0600)
    roster.toml             who the hospitals are
    flower/                 the SuperLink's state and log
    runs/<run>/             what each run leaves (see `fedpriv.coordinator.run_folder`)
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tomli_w

from fedpriv.errors import HomeError
from fedpriv.identity import keys, roster, tls

CONFIG = "coordinator.toml"
Address = Annotated[str, msgspec.Meta(pattern=r"^[^\s:/]+:[0-9]{1,5}$")]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the coordinator listens: only ``fleet`` is public, the other two must stay on loopback."""

    fleet: Address
    hosts: tuple[str, ...]
    serverappio: Address
    control: Address


class Deadlines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a hospital may take, in seconds, before the round goes on without it.

    ``join_s`` to come online before a round, ``answer_s`` for a short message,
    ``training_s`` for the stage in which it trains.
    """

    join_s: Seconds = 60.0
    answer_s: Seconds = 60.0
    training_s: Seconds = 1800.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``coordinator.toml``."""

    name: str
    listen: Listen
    deadlines: Deadlines = Deadlines()


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
    def flower_folder(self) -> Path:
        """The SuperLink's state."""
        return self.folder / "flower"

    @property
    def roster_path(self) -> Path:
        """The roster that the ceremony produced."""
        return self.folder / "roster.toml"

    @property
    def runs_folder(self) -> Path:
        """One folder a run."""
        return self.folder / "runs"

    def roster(self) -> roster.Roster:
        """Read the roster; HomeError says how to make one."""
        if not self.roster_path.exists():
            raise HomeError(
                f"{self.roster_path}: no roster yet",
                hint="fedpriv keys enrol REQUEST... collects the hospitals' requests into one",
            )
        return roster.load_roster(self.roster_path)


def init_home(folder: Path, *, name: str, fleet: str, hosts: tuple[str, ...]) -> CoordinatorHome:
    """Make a home with fresh keys and a TLS certificate for ``hosts``; refuse one that exists.

    The ports beside the fleet's (one below, one above) serve the loopback-only APIs of Flower.
    """
    if (folder / CONFIG).exists():
        raise HomeError(f"{folder / CONFIG}: there is a coordinator here already", hint="choose another --home")
    port = _port(fleet)
    config = _checked(
        msgspec.to_builtins(
            Config(
                name=name,
                listen=Listen(
                    fleet=fleet,
                    hosts=hosts,
                    serverappio=f"127.0.0.1:{port - 1}",
                    control=f"127.0.0.1:{port + 1}",
                ),
            )
        ),
        folder / CONFIG,
    )
    keys.save(keys.new_identity(name), folder / "identity")
    tls.save(tls.new_server_credentials(name, hosts), folder / "identity")
    (folder / CONFIG).write_text(tomli_w.dumps(msgspec.to_builtins(config)))
    return CoordinatorHome(folder, config)


def open_home(folder: Path) -> CoordinatorHome:
    """Open an existing home; HomeError says what is missing or wrong."""
    path = folder / CONFIG
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HomeError(
            f"{path}: no coordinator here", hint="fedpriv coordinator init --home DIR, or name the right --home"
        ) from None
    try:
        return CoordinatorHome(folder, _checked(tomllib.loads(text), path))
    except tomllib.TOMLDecodeError as error:
        raise HomeError(f"{path}: not TOML: {error}", hint="mend the line or make the home anew") from None


def _checked(document: object, path: Path) -> Config:
    try:
        config = msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        raise HomeError(f"{path}: {error}", hint="see the example in coordinator/") from None
    for key in ("serverappio", "control"):
        address: str = getattr(config.listen, key)
        if not address.startswith("127.0.0.1:"):
            raise HomeError(
                f"{path}: listen.{key} = {address!r} must stay on 127.0.0.1: Flower asks no login there",
                hint=f"set it to 127.0.0.1:{_port(address)}",
            )
    return config


def _port(address: str) -> int:
    try:
        port = int(address.rpartition(":")[2])
    except ValueError:
        port = 0
    if not 1 < port < 65_535:  # noqa: PLR2004 - the range of ports, less one on each side for the neighbours
        raise HomeError(f"{address!r} is no HOST:PORT with a port from 2 to 65534", hint="for example 0.0.0.0:9092")
    return port
