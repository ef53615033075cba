"""Roll-outs among peers: a good candidate is taken by all and a bad one by none, whoever goes away meanwhile.

What a task comes to depends on the model that a peer runs it with; everything else is real.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from meshinfer.errors import ConfigError, ModelError
from meshinfer.model.catalog import SourceSummary
from meshinfer.model.channel import Channel, Trial, Version, ended, placed, tried
from meshinfer.model.facts import ModelRef, Outcome
from meshinfer.model.ids import JobId, ModelDigest, TaskId
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec
from meshinfer.node.channel_calls import ChannelCalls
from meshinfer.node.follow import Follower
from meshinfer.node.node import Node
from meshinfer.node.views import job_view
from meshinfer.schedule.stimuli import CatalogChanged, ModelsChanged
from tests.shell.support import Peer, World, entry

YARD = "yard:stable"
OLD, NEW = Version(ModelDigest("1" * 64), "yard@1"), Version(ModelDigest("2" * 64), "yard@2")
TIME = 40.0
FRAMES = 50
FILES = 4

GOOD: dict[str, Any] = {"detections": 20, "scores": (0, 0, 0, 0, 5, 5, 5, 5)}
FAILS: dict[str, Any] = {**GOOD, "fallback": "model"}
BLIND: dict[str, Any] = {}


async def comes(true: Callable[[], object], within: float = 30.0) -> None:
    """Wait for what takes a minute, in steps of its size."""
    with trio.fail_after(within):
        while not true():
            await trio.sleep(0.2)


class Site(Peer):
    """A peer with footage of its own, and both models."""

    finds = GOOD
    """What the candidate does here."""

    def ready(self) -> Site:
        self.driver.feed(ModelsChanged({OLD.model: ("person",), NEW.model: ("person",)}))
        self.driver.feed(CatalogChanged(tuple(entry(f"{self.name}{n}") for n in range(FILES))))
        return self

    def outcome(self, job: JobId, task: TaskId) -> Outcome:
        known: dict[str, Any] = {"detections": 0, **(self.finds if self.runs(job) == NEW else GOOD)}
        return Outcome(bytes.fromhex(task), True, FRAMES, seconds=5.0, digest="d", **known)

    def runs(self, job: JobId) -> Version:
        state = self.driver.state
        return NEW if state.models.runs(state.jobs[job].info) == NEW.model else OLD

    @property
    def channel(self) -> Channel:
        said = self.driver.state.channels.get(YARD)
        assert said is not None
        return said.state

    def stands(self, move: str, generation: int = 3) -> bool:
        said = self.driver.state.channels.get(YARD)
        return said is not None and (said.state.move, said.state.generation) == (move, generation)

    def ask(self, nonce: str) -> JobOrder:
        """Publish a job that names the channel."""
        pinned = self.rollout.pin(JobSpec(YARD))
        assert pinned is not None
        packed, salt = pack_spec(pinned[0]), nonce.encode().ljust(8, b"-")
        order = JobOrder(job_id(packed, pinned[1], salt), packed, pinned[1], salt, 0.0)
        self.records.state(order)
        return order

    def begin(self, *canaries: Site) -> None:
        """A roll-out to these."""
        trial = Trial(NEW, tuple(peer.id for peer in canaries), 100, TIME)
        self.records.state(tried(self.channel, trial, why="", stated=0.0))


async def three(world: World) -> tuple[Site, Site, Site]:
    """alice, bob and carol, who have a channel with the old model."""
    world.kind = Site
    sites = tuple(peer.ready() for peer in await world.three() if isinstance(peer, Site))
    alice, bob, carol = sites
    alice.records.state(placed(None, YARD, OLD, why="", stated=0.0))
    await comes(lambda: all(peer.stands("set", 1) for peer in sites))
    return alice, bob, carol


async def trying(world: World, canary: dict[str, Any]) -> tuple[Site, Site, Site]:
    """The same, while bob tries the candidate, which does this."""
    alice, bob, carol = await three(world)
    bob.finds = canary
    alice.begin(bob)
    await comes(lambda: all(peer.stands("try", 2) for peer in (alice, bob, carol)))
    return alice, bob, carol


def done_once(job: JobOrder, *peers: Site) -> bool:
    """These know every task as done, and by one peer alone."""
    known = [peer.jobs[job.id] for peer in peers if job.id in peer.jobs]
    return len(known) == len(peers) and all(
        len(state.outcomes) == 3 * FILES and all(len(ended) == 1 for ended in state.outcomes.values())
        for state in known
    )


async def test_a_good_candidate_is_taken_by_all(world: World) -> None:
    """Alice, who began it, holds nothing: she hears of the jobs because they are her roll-out's."""
    alice, bob, carol = sites = await trying(world, GOOD)
    alice.driver.feed(CatalogChanged((), tuple(("cam", f"alice{n}") for n in range(FILES))))
    job = carol.ask("one")
    await comes(lambda: len(carol.jobs[job.id].outcomes) == 2 * FILES if job.id in carol.jobs else False)
    assert [peer.runs(job.id) for peer in sites] == [OLD, NEW, OLD]
    began = trio.current_time()
    await comes(lambda: all(peer.stands("promote") for peer in sites), TIME + 60)
    assert trio.current_time() - began > TIME / 2, "not before its time has passed"
    assert (carol.channel.stable, carol.channel.before) == (NEW, OLD)
    assert "as good as what it replaces" in carol.channel.why
    assert (said := carol.driver.state.channels.get(YARD)) is not None
    assert said.origin == alice.id
    again = bob.ask("two")
    await comes(lambda: all(again.id in peer.jobs for peer in sites))
    assert [peer.runs(again.id) for peer in sites] == [NEW, NEW, NEW]


@pytest.mark.parametrize(
    ("canary", "why"), [(FAILS, "4 of 4 tasks failed with it"), (BLIND, "it finds 0.00 objects a frame")]
)
async def test_a_bad_one_by_none_and_it_costs_no_work(world: World, canary: dict[str, Any], why: str) -> None:
    alice, bob, _ = sites = await trying(world, canary)
    job = bob.ask("one")
    began = trio.current_time()
    await comes(lambda: all(peer.stands("rollback") for peer in sites))
    assert trio.current_time() - began < TIME, "at once"
    assert (alice.channel.stable, alice.channel.trying) == (OLD, None)
    assert why in alice.channel.why
    await comes(lambda: done_once(job, *sites))


async def test_too_little_was_seen(world: World) -> None:
    sites = await trying(world, GOOD)
    await comes(lambda: all(peer.stands("lapse") for peer in sites), TIME + 120)
    assert sites[2].channel.stable == OLD
    assert "too little was seen" in sites[2].channel.why


async def test_a_running_job_ends_with_what_it_began_with(world: World) -> None:
    alice, bob, carol = sites = await trying(world, GOOD)
    bob.work = 20.0
    job = alice.ask("one")
    await comes(lambda: bool(bob.started))
    carol.records.state(ended(carol.channel, "rollback", why="by hand", stated=0.0))
    await comes(lambda: all(peer.stands("rollback") for peer in sites))
    assert bob.runs(job.id) == NEW
    await comes(lambda: done_once(job, *sites), 60)
    outcomes = [ended[bob.id] for ended in alice.jobs[job.id].outcomes.values() if bob.id in ended]
    assert {alice.jobs[job.id].model_of(bob.id, outcome) for outcome in outcomes} == {NEW.model}
    assert alice.ask("two").spec != job.spec


async def test_a_partition_sees_both_verdicts_and_heals_to_the_safe_one(world: World) -> None:
    """Who began it is cut off and sees nothing in time: there it lapses. The others see it fail.

    Its author has the highest id: were the two verdicts worth the same, the wrong one would count.
    """
    sites = await three(world)
    one, other, author = sorted(sites, key=lambda peer: peer.id)
    one.finds = FAILS
    author.begin(one)
    await comes(lambda: all(peer.stands("try", 2) for peer in sites))
    for peer in (one, other):
        world.cut(author.name, peer.name)
    await comes(lambda: not author.mesh.peers)
    one.ask("one")
    await comes(lambda: one.stands("rollback") and other.stands("rollback"), TIME + 60)
    await comes(lambda: author.stands("lapse"), TIME + 120)
    for peer in (one, other):
        world.heal(author.name, peer.name)
    await comes(lambda: all(peer.stands("rollback") for peer in sites), 60)
    assert len({peer.channel.why for peer in sites}) == 1
    assert {peer.channel.stable for peer in sites} == {OLD}


async def test_its_author_restarts_meanwhile(world: World) -> None:
    alice, bob, carol = await trying(world, GOOD)
    job = carol.ask("one")
    await comes(lambda: done_once(job, carol))
    await alice.stop(kill=True)
    await trio.sleep(TIME / 2)
    again = await world.start("alice")
    assert isinstance(again, Site)
    assert again.ready().stands("try", 2), "from its store"
    await comes(lambda: all(peer.stands("promote") for peer in (again, bob, carol)), TIME + 60)


async def test_its_author_never_comes_back(world: World) -> None:
    """The others end it, in turn; and when the author is forgotten, what it said of the channel is not."""
    alice, bob, carol = await trying(world, GOOD)
    job = carol.ask("one")
    await comes(lambda: done_once(job, carol))
    await alice.stop()
    await comes(lambda: bob.stands("promote") and carol.stands("promote"), TIME + 120)
    author = bob.driver.state.channels.get(YARD)
    assert author is not None
    assert author.origin in (bob.id, carol.id)


async def test_what_a_forgotten_peer_said_of_a_channel_stays(world: World) -> None:
    alice, bob, carol = await three(world)
    await alice.stop()
    for peer in (bob, carol):
        await comes(lambda peer=peer: alice.id not in peer.mesh.peers)
        peer.records.forget(alice.id)
    await comes(lambda: not bob.driver.state.channels.busy and not carol.driver.state.channels.busy, 120)
    held = bob.records.log.of_kind("channel")
    assert [record.record.origin in (bob.id, carol.id) for record in held] == [True]
    assert bob.channel.stable == OLD


class Asked:
    """The calls of a peer's owner."""

    def __init__(self, site: Site) -> None:
        follower = Follower(site.driver, site.questions, site.sync)
        node = SimpleNamespace(rollout=site.rollout, driver=site.driver, resolve=self.resolve, spread=self.spread)
        self._table = ChannelCalls(cast(Node, node), follower).table()

    async def resolve(self, spec: JobSpec) -> ModelDigest:
        return {version.reference: version.model for version in (OLD, NEW)}[spec.model]

    async def spread(self) -> None:
        await trio.lowlevel.checkpoint()

    async def __call__(self, call: str, **args: Any) -> dict[str, Any]:
        (answer,) = [answer async for answer in self._table[call](args)]
        end: dict[str, Any] = answer["end"]
        return end


async def test_what_owners_ask_for(world: World) -> None:
    world.kind = Site
    alice, bob, carol = [peer.ready() for peer in await world.three() if isinstance(peer, Site)]
    for site in (alice, bob, carol):
        models = tuple(ModelRef("yard", version.model, version.reference[-1]) for version in (OLD, NEW))
        site.neighbours.state_again(models=models)
    bob.records.state(SourceSummary("cam", ("video",), {}, FILES, 0, 1, 1.0))
    await comes(lambda: alice.driver.state.sources.get(bob.id) and len(alice.driver.state.peers[carol.id].models) == 2)
    ask, carols = Asked(alice), Asked(carol)
    with pytest.raises(ConfigError, match="no channel yard:stable yet, so nothing to compare with"):
        await ask("model_promote", model="yard@2", permille=100)
    made = (await ask("model_promote", model="yard@1"))["channel"]
    assert (made["channel"], made["model"]["reference"], made["trial"]) == (YARD, "yard@1", None)
    with pytest.raises(ConfigError, match="yard:stable is yard@1 already"):
        await ask("model_promote", model="yard@1")
    with pytest.raises(ConfigError, match="never stood for anything but yard@1"):
        await ask("model_rollback", channel=YARD)
    with pytest.raises(
        ModelError, match="no channel 'yard:stabel' is known here \\(but yard:stable\\); did you mean `yard:stable`"
    ):
        await ask("model_rollback", channel="yard:stabel")
    with pytest.raises(ConfigError, match="cannot name a channel"):
        await ask("model_promote", model="yard@2", to="sha256:ab")

    began = (await ask("model_promote", model="yard@2", permille=100, seconds=TIME))["channel"]
    assert [peer["name"] for peer in began["trial"]["peers"]] == ["bob"], "who holds footage"
    with pytest.raises(ConfigError, match="is trying yard@2: end that with"):
        await ask("model_promote", model="yard@2", permille=200)
    await comes(lambda: carol.stands("try", 2))
    job = carol.ask("one")
    await comes(lambda: done_once(job, carol))
    (view,) = (await carols("channels"))["channels"]
    trial = view["trial"]
    assert (trial["verdict"], trial["tried"]["tasks"], trial["rest"]["tasks"]) == ("wait", FILES, 2 * FILES)
    assert (trial["tried"]["per_frame"], trial["tried"]["fps"], trial["tried"]["score"]) == (0.4, 10.0, 0.75)
    assert [(each["name"], each["before"]) for each in trial["each"]] == [("bob", None)]

    described = job_view(carol.driver.state, carol.jobs[job.id], trio.current_time())
    assert described["canary"]["reference"] == "yard@2"
    used = {peer["name"]: [(m["reference"], m["tasks"]) for m in peer["models"]] for peer in described["peers"]}
    assert used == {"alice": [("yard@1", FILES)], "bob": [("yard@2", FILES)], "carol": [("yard@1", FILES)]}

    back = (await carols("model_rollback", channel=YARD, why="too slow"))["channel"]
    assert (back["move"], back["why"], back["model"]["reference"]) == ("rollback", "too slow", "yard@1")
    await comes(lambda: alice.stands("rollback"))
    now = (await ask("model_promote", model="yard@2"))["channel"]
    assert (now["model"]["reference"], now["before"]["reference"]) == ("yard@2", "yard@1")
    again = (await ask("model_rollback", channel=YARD))["channel"]
    assert (again["model"]["reference"], again["generation"]) == ("yard@1", 5)
