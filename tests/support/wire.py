"""A network of one machine: a namespace for each host, and wires between them that can be spoiled.

The kernel here may lack netem, so a wire is a pair of TUN devices and a thread that carries IP packets from
one to the other: it can hold them back (`delay_s`), lose a share of them (`loss`) or all (`cut`). What TCP,
TLS and gRPC make of that is theirs. Namespaces have no names and devices no files: they end with the process.
It needs root, or the capability to make networks; `available` tells.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import threading
import time

_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_TUNSETIFF = 0x400454CA  # <linux/if_tun.h>
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST_PACKET = 65_536
_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """One network namespace; ``command`` runs a command in it."""

    def __init__(self):
        self._namespace = _in_a_thread(_new_namespace)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *arguments):
        """The command line that runs ``arguments`` in this namespace, as the same process."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self._namespace}", "--", *arguments]

    def run(self, *arguments):
        """Run a short command to its end."""
        subprocess.run(self.command(*arguments), check=True, capture_output=True)

    def tunnel(self, name):
        """A new TUN device in this namespace; its file descriptor carries raw IP packets."""
        return _in_a_thread(lambda: _new_tunnel(self._namespace, name))

    def close(self):
        """Let go of the namespace; it ends with the last process in it."""
        os.close(self._namespace)


class Wire(threading.Thread):
    """Carries packets between ``near``, which has ``near_address``, and ``far``, until `close`."""

    def __init__(self, near, near_address, far, far_address, name):
        super().__init__(daemon=True)
        self.cut = False
        self.loss = 0.0
        self.delay_s = 0.0
        self.carried = self.lost = 0
        self._ends = [near.tunnel(name), far.tunnel(name)]
        self._wake = os.pipe()
        for host, address, other in ((near, near_address, far_address), (far, far_address, near_address)):
            host.run("ip", "address", "replace", address, "peer", other, "dev", name)
            host.run("ip", "link", "set", name, "up")
        self.start()

    def heal(self):
        """Carry everything at once again."""
        self.cut, self.loss, self.delay_s = False, 0.0, 0.0

    def run(self):
        due, order = [], itertools.count()
        to = {self._ends[0]: self._ends[1], self._ends[1]: self._ends[0]}
        while True:
            wait_s = max(0.0, due[0][0] - time.monotonic()) if due else None
            ready, _, _ = select.select([*self._ends, self._wake[0]], [], [], wait_s)
            if self._wake[0] in ready:
                return
            for end in ready:
                packet = os.read(end, _LARGEST_PACKET)
                if self.cut or random.random() < self.loss:
                    self.lost += 1
                else:
                    heapq.heappush(due, (time.monotonic() + self.delay_s, next(order), to[end], packet))
            while due and due[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(due)
                self.carried += 1
                os.write(end, packet)

    def close(self):
        """End the thread and both devices."""
        os.write(self._wake[1], b".")
        self.join()
        for descriptor in (*self._ends, *self._wake):
            os.close(descriptor)


def available():
    """Whether this process may make namespaces and TUN devices."""
    try:
        host = Host()
    except (OSError, subprocess.CalledProcessError):
        return False
    try:
        os.close(host.tunnel("probe"))
    except OSError:
        return False
    finally:
        host.close()
    return True


def _new_namespace():
    if _libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _new_tunnel(namespace, name):
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14s", name.encode(), _IFF_TUN | _IFF_NO_PI, b""))
    return descriptor


def _in_a_thread(work):
    """What ``work`` gives in a thread of its own: a namespace is a thread's, and must not stay ours."""
    found = []

    def run():
        try:
            found.append(work())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]
