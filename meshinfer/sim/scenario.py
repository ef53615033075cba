"""What is simulated: typed, readable from TOML. The defaults are the mixed scenario."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from meshinfer.errors import ConfigError

Share = Annotated[float, Meta(ge=0, le=1)]
Span = Annotated[float, Meta(ge=0, le=3600)]
Spans = tuple[Span, Span]
"""From, to: drawn evenly between."""

MAX_PEERS = 10_000


class Link(Struct, frozen=True, forbid_unknown_fields=True):
    """How the network treats what is sent."""

    delay: Spans = (0.001, 0.08)
    loss: Share = 0.2
    """Of gossip messages, each on each link. Streams lose nothing until they break."""
    duplicate: Share = 0.1
    reorder: Share = 0.2
    """Of gossip messages that are held up, and passed by later ones."""
    held_up: Spans = (0.1, 3.0)
    notice: Spans = (0.01, 2.0)
    """Seconds until a peer notices that a connection broke."""
    dial: Spans = (0.05, 1.5)
    """Seconds until two peers that can reach each other are connected."""


class Faults(Struct, frozen=True, forbid_unknown_fields=True):
    """What befalls peers during the storm, a peer and minute each. After it links heal and peers come back."""

    kills: Span = 1.0
    busy: Share = 0.0
    """Of kills: those that befall a peer that is at work, where there is one."""
    crash: Share = 0.001
    """Chance that a peer dies at one of its own steps: an effect begun, written, or about to be told."""
    lost_store: Share = 0.15
    """Of peers that died: those that come back with an empty store."""
    gone: Share = 0.03
    """Of peers that died: those that never come back."""
    down: Spans = (0.1, 15.0)
    pauses: Span = 1.0
    paused: Spans = (0.5, 8.0)
    cuts: Span = 1.0
    """One-way."""
    partitions: Span = 2.0
    """A minute, in all."""
    apart: Spans = (0.5, 20.0)
    """Seconds that a cut or a partition lasts."""
    full_disks: Span = 0.3
    full: Spans = (0.5, 6.0)
    skew: Span = 600.0
    """Seconds by which wall clocks are off, either way; drawn anew at each start."""
    jumps: Span = 0.5
    """Of wall clocks, to another skew."""
    moves: Span = 0.3
    """Files that are deleted, or copied from another peer."""
    models: Span = 0.1
    """Times that a model is taken away, for as long as a peer is `down`."""
    looks: Span = 0.5
    """Times that somebody asks a peer about a job, loses interest, and asks again."""
    rolled_back: Share = 0.0
    """Of peers that died and kept their store: those that come back with a copy that was made of it before."""


Attack = Literal[
    "forged", "strange", "unsigned", "oversized", "garbage", "future", "jump", "fork", "claim", "outcome", "unknown",
    "vector", "flood", "hoard", "clone",
]  # fmt: skip
"""What a Byzantine peer does; each is a function in `sim/attacks.py`."""


class Byzantine(Struct, frozen=True, forbid_unknown_fields=True):
    """Peers that break the rules, besides doing their part."""

    share: Share = 0.0
    attacks: tuple[Attack, ...] = get_args(Attack)
    pause: Spans = (0.2, 1.5)
    """Seconds between two attacks of one peer."""


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=64)] = "mixed"
    peers: tuple[Annotated[int, Meta(ge=1, le=MAX_PEERS)], Annotated[int, Meta(ge=1, le=MAX_PEERS)]] = (5, 20)
    """From, to: small meshes more often, so that each size takes about the same time in all (`World`)."""
    links: Annotated[int, Meta(ge=0, le=64)] = 0
    """Random links of a peer, besides those to holders of copies; gossip goes from hop to hop along them. 0: everybody
    is linked to everybody, and gossip goes straight."""
    contents: Annotated[int, Meta(ge=0, le=100_000)] = 12
    groups: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Sources that contents are dealt to; a job asks for one of them."""
    copies: Annotated[int, Meta(ge=1, le=100)] = 3
    """Most holders of one content."""
    fewest: Annotated[int, Meta(ge=1, le=100)] = 1
    """Fewest holders of one content."""
    jobs: tuple[Annotated[int, Meta(ge=1, le=10_000)], Annotated[int, Meta(ge=1, le=10_000)]] = (1, 3)
    every: Share = 0.2
    """Of jobs: those of `scope: every`."""
    cancels: Share = 0.2
    failing: Share = 0.03
    """Of copies: those that their holder fails to analyse."""
    lacking: Share = 0.1
    """Of peers: those that lack the jobs' model at first, and fetch it from others. One has it."""
    start: Spans = (0.0, 0.5)
    """When peers start."""
    late: Share = 0.2
    """Of peers: those that join while jobs run."""
    work: Spans = (0.05, 4.0)
    """Seconds a task takes."""
    slow: Share = 0.1
    """Of peers: those whose work takes four times as long."""
    window: tuple[Annotated[int, Meta(ge=1, le=256)], ...] = (1, 2, 32)
    calm: Span = 5.0
    """Seconds before the first job and the first fault."""
    storm: Span = 25.0
    link: Link = Link()
    faults: Faults = Faults()
    byzantine: Byzantine = Byzantine()
    without: tuple[int, ...] = ()
    """Planned faults, by their numbers, that do not happen: those that shrinking found not to matter."""
    converge: Span = 15.0
    """Seconds after the storm within which all peers know all that was known at its end."""
    rest: Span = 300.0
    """Seconds after the storm within which everything is done."""

    def __post_init__(self) -> None:
        ranges = {
            "peers": self.peers,
            "jobs": self.jobs,
            "work": self.work,
            "start": self.start,
            "link.delay": self.link.delay,
        }
        for name, (low, high) in ranges.items():
            if low > high:
                raise ValueError(f"{name} goes from {low} to {high}: the first is larger")
        if self.fewest > self.copies:
            raise ValueError(f"fewest is {self.fewest}, over copies, which is {self.copies}")
        if not self.window:
            raise ValueError("window is empty")

    @property
    def is_quiet(self) -> bool:
        """Nothing goes wrong: no fault befalls anybody, and gossip arrives once and in order."""
        f, link = self.faults, self.link
        faults = f.kills + f.crash + f.pauses + f.cuts + f.partitions + f.full_disks + f.moves + f.models
        return faults + self.byzantine.share + link.loss + link.duplicate + link.reorder == 0


def read_scenario(toml: bytes, where: str) -> Scenario:
    """Raises ConfigError, which names `where`."""
    try:
        return msgspec.toml.decode(toml, type=Scenario)
    except (msgspec.MsgspecError, ValueError) as e:  # ValueError: no TOML, or no UTF-8
        raise ConfigError(f"{where}: {e}") from None
