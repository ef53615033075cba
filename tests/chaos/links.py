"""Links between real peers that a test can cut, silence one way, and slow down.

Two kinds, one interface: network namespaces (`netns.py`), where the kernel itself loses the packets, and TCP proxies
(`proxy.py`), which work everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

How = Literal["reset", "silent", "one way"]
"""`reset`: both ends are told, and new connections are refused. `silent`: nothing arrives, and nobody is told.
`one way`: silent from the first peer to the second, open the other way."""

PidOf = Callable[[str], int | None]
"""The process of a peer, None while it has none."""


class Unavailable(Exception):
    """This machine does not allow this kind; the message says why."""


class Place(NamedTuple):
    """Where a peer is put: what goes before its command, and its flags."""

    before: tuple[str, ...]
    flags: tuple[str, ...]


class Links(Protocol):
    kind: str
    ways: tuple[How, ...]
    """How these links can be cut."""
    can_slow: bool

    def place(self, name: str) -> Place: ...

    def cut(self, a: str, b: str, how: How) -> None: ...

    def heal(self, a: str, b: str) -> None: ...

    def slow(self, name: str, seconds: float) -> None:
        """Delay everything that a peer sends; 0: no longer."""

    def close(self) -> None: ...


def make_links(kind: Literal["auto", "netns", "proxy"], pid_of: PidOf, say: Callable[[str], None]) -> Links:
    """Raises Unavailable where the machine has not what was asked for; `auto` takes proxies then."""
    from tests.chaos.netns import NetnsLinks
    from tests.chaos.proxy import ProxyLinks

    if kind == "proxy":
        return ProxyLinks(pid_of)
    try:
        links = NetnsLinks()
    except Unavailable as e:
        if kind == "netns":
            raise
        say(f"links are TCP proxies: {e}")
        return ProxyLinks(pid_of)
    say(f"links are network namespaces{'' if links.can_slow else '; none is slow: tc has no netem here'}")
    return links
