"""Links as veth pairs on a bridge, each peer in a network namespace of its own; needs root on Linux.

No namespace has a name, and each is held by a `cat` that ends when its standard input closes: whatever happens to this
process, the kernel takes away all that was made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.links import How, Place, Unavailable

NOBODY = "02:00:00:00:00:00"
"""No peer's link address: what is sent there is lost, and nobody is told."""

PORT = 4001
LOSS = "1%"
"""Of the packets of a slow peer."""


class NetnsLinks:
    kind = "netns"
    ways: tuple[How, ...] = ("silent", "one way")

    def __init__(self) -> None:
        """Raises Unavailable."""
        if sys.platform != "linux" or os.geteuid() != 0:
            raise Unavailable("network namespaces need root on Linux")
        missing = [tool for tool in ("unshare", "nsenter", "ip", "tc") if shutil.which(tool) is None]
        if missing:
            raise Unavailable(f"network namespaces need {', '.join(missing)}")
        self._holders: list[subprocess.Popen[bytes]] = []
        self._peers: dict[str, tuple[int, str]] = {}
        """Who holds a peer's namespace, and its address."""
        try:
            self._hub = self._hold()
            _inside(self._hub, "ip", "link", "add", "br0", "type", "bridge")
            _inside(self._hub, "ip", "link", "set", "br0", "up")
            self.can_slow = _try_netem(self._hub)
        except (OSError, subprocess.CalledProcessError, Unavailable) as e:
            self.close()
            said = e.stderr.strip() if isinstance(e, subprocess.CalledProcessError) else e
            raise Unavailable(f"no network namespaces here: {said}") from None

    def place(self, name: str) -> Place:
        holder, number = self._hold(), len(self._peers) + 1
        address = f"10.0.0.{number}"
        self._peers[name] = (holder, address)
        end = f"v{number}"
        _inside(self._hub, "ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
        _inside(self._hub, "ip", "link", "set", end, "master", "br0", "up")
        _inside(holder, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _inside(holder, "ip", "link", "set", link, "up")
        return Place(("nsenter", f"--net=/proc/{holder}/ns/net"), ("--listen", f"/ip4/{address}/tcp/{PORT}"))

    def cut(self, a: str, b: str, how: How) -> None:
        """`reset` is not to be had here: the packets are lost, nobody is told."""
        for one, other in ((a, b),) if how == "one way" else ((a, b), (b, a)):
            where = (self._peers[other][1], "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
            _inside(self._peers[one][0], "ip", "neighbour", "replace", *where)

    def heal(self, a: str, b: str) -> None:
        for one, other in ((a, b), (b, a)):
            where = ("ip", "neighbour", "del", self._peers[other][1], "dev", "eth0")
            _inside(self._peers[one][0], *where, check=False)  # nothing to delete where it was open

    def slow(self, name: str, seconds: float) -> None:
        delay = f"{seconds * 1000:.0f}ms"
        what = ("replace", "dev", "eth0", "root", "netem", "delay", delay, "loss", LOSS)
        _inside(self._peers[name][0], "tc", "qdisc", *(what if seconds else ("del", "dev", "eth0", "root")))

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.communicate()

    def _hold(self) -> int:
        """A new network namespace; the process that keeps it."""
        holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self._holders.append(holder)
        here, there = Path("/proc/self/ns/net"), Path(f"/proc/{holder.pid}/ns/net")
        while there.readlink() == here.readlink():
            if holder.poll() is not None:
                raise Unavailable(holder.stderr.read().decode(errors="replace").strip() if holder.stderr else "")
            time.sleep(0.01)
        return holder.pid


def _inside(holder: int, *command: str, check: bool = True) -> bool:
    """Run in the namespace of `holder`; whether it worked. Raises CalledProcessError with `check`."""
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{holder}/ns/net", *command], capture_output=True, text=True, check=check, timeout=20
    )
    return done.returncode == 0


def _try_netem(holder: int) -> bool:
    return _inside(holder, "tc", "qdisc", "replace", "dev", "lo", "root", "netem", "delay", "1ms", check=False)
