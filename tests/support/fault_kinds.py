"""Every kind of fault, as it strikes a running federation of `support.faulty`.

``who`` is what is struck, as in the fault matrix; if it is a node, it is the one of the hospital ``victim``.
"""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import time

import psutil
from support.rosters import sealed

from fedpriv.identity.enrolment import collect, new_request
from fedpriv.identity.keys import new_identity
from fedpriv.identity.roster import dump_roster

_DAY_S = 86_400


def end(process):
    """Kill ``process`` and wait until it is gone."""
    process.kill()
    process.wait()


# Faults of running processes: each a context, struck on entering and healed on leaving.


@contextlib.contextmanager
def _killed(federation, who, command, victim):
    if who == "node":
        end(federation.processes[victim])
        yield
        federation.bring_up(victim)
    elif who == "coordinator":
        command.kill()
        yield
    elif who == "superlink":
        federation.superlink.kill()
        yield
    else:
        superlink = federation.superlink
        end(federation.processes["coordinator"])
        superlink.wait(30)
        federation.start_coordinator()
        yield


@contextlib.contextmanager
def _stopped(federation, who, command, victim):
    process = {
        "node": lambda: federation.processes[victim],
        "coordinator": lambda: command,
        "door": lambda: federation.processes["coordinator"],
        "superlink": lambda: federation.superlink,
    }[who]()
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


def _on_the_line(**changes):
    @contextlib.contextmanager
    def spoiled(federation, who, _command, victim):
        wires = [federation.wires[victim]] if who == "node" else list(federation.wires.values())
        for line in wires:
            for name, value in changes.items():
                setattr(line, name, value)
        yield
        for line in wires:
            line.heal()
        for line in wires:
            federation.wait_for_traffic(line)

    return spoiled


def _empty_log(database):
    """Move what SQLite has in the write-ahead log of ``database`` into it, and cut the log to nothing."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextlib.contextmanager
def _full_disk(federation, who, _command, victim):
    folder = federation.home_of(who, victim)
    if who == "superlink":  # a long log has room for many rounds
        _empty_log(folder / "state.sqlite")
    federation.fill_disk(folder)
    yield
    federation.empty_disk(folder)


@contextlib.contextmanager
def _noise_for_state(federation, who, _command, victim):
    """Kill the SuperLink; its keeper, stopped meanwhile, finds all pages but the first overwritten."""
    door, state = (
        federation.processes["coordinator"],
        federation.home_of(who, victim) / "state.sqlite",
    )
    door.send_signal(signal.SIGSTOP)
    superlink = federation.superlink
    superlink.kill()
    while superlink.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    _empty_log(state)
    with state.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(range(1, 256)) * (state.stat().st_size // 255))
    door.send_signal(signal.SIGCONT)
    yield


def _clock(shift_s):
    @contextlib.contextmanager
    def shifted(federation, who, _command, victim):
        name = victim if who == "node" else "coordinator"
        names = [name] if who == "node" else list(federation.nodes)
        since = {each: federation.length(each) for each in names}
        federation.set_clock(name, shift_s)
        yield
        federation.set_clock(name, 0)
        for each in names:
            if "does not" in federation.said(each, since[each]) or "is not" in federation.said(
                each, since[each]
            ):
                federation.wait_for(each, "connected to", since[each])

    return shifted


FAULTS = {
    "SIGKILL": _killed,
    "SIGSTOP": _stopped,
    "cut": _on_the_line(cut=True),
    "delay": _on_the_line(delay_s=0.1),
    "loss": _on_the_line(loss=0.1),
    "disk full": _full_disk,
    "clock a day ahead": _clock(_DAY_S),
    "clock a day behind": _clock(-_DAY_S),
    "corrupted journal": _noise_for_state,
}


# Faults of what a process finds when it starts: each a context in which it is so.


@contextlib.contextmanager
def _read_only(federation, who, victim):
    """Read-only for whoever opens a file now; the door, which stays, goes on with what it has open."""
    folder = federation.home_of(who, victim)
    subprocess.run(["mount", "--rbind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", folder], check=True)


@contextlib.contextmanager
def _corrupted(federation, who, victim):
    if who == "node":
        path = federation.home_of(who, victim) / "journal.sqlite"
        _empty_log(path)
        needle = b'"kind":"'
    else:
        path, needle = federation.run.folder / "rounds.jsonl", b'"round"'
    backup = federation.study_path.parent / "backup"
    shutil.copy(path, backup)
    content = bytearray(path.read_bytes())
    at = content.index(needle) + 2
    content[at] ^= 1
    path.write_bytes(bytes(content))
    try:
        yield
    finally:
        shutil.copy(backup, path)
        backup.unlink()


@contextlib.contextmanager
def _wrong_roster(federation, who, victim):
    path = federation.home_of(who, victim) / "roster.toml"
    right = path.read_text()
    identities = [node.identity() for name, node in federation.nodes.items() if name != "C"]
    identities.append(new_identity("C"))
    requests = [new_request(identity) for identity in identities]
    wrong = collect(federation.study.study.name, federation.coordinator.operator(), requests)
    path.write_text(dump_roster(sealed(wrong, federation.coordinator.identity(), *identities)))
    try:
        yield
    finally:
        path.write_text(right)


RESTARTS = {"read-only home": _read_only, "corrupted journal": _corrupted, "wrong roster": _wrong_roster}
ENDS_THE_COMMAND = {"SIGKILL", "disk full", *RESTARTS}
