"""Processes: a peer that runs until it is told to stop, and a guest that lives as long as one command."""

from __future__ import annotations

import gc
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from meshinfer.config import Config
from meshinfer.detect.shelf import Open, Shelf, on_cpu
from meshinfer.detect.trial import try_model
from meshinfer.detect.variants.opening import Opener
from meshinfer.detect.variants.tuning import open_book
from meshinfer.errors import ConfigError, MeshError, MeshInferError, StoreDamaged
from meshinfer.home import make_home, socket_path
from meshinfer.mesh.identity import Identity, ephemeral, load_or_create
from meshinfer.mesh.swarm_key import parse_swarm_key
from meshinfer.node.lock import hold
from meshinfer.node.node import Node, models_folder
from meshinfer.store import EventLog, open_healed

DATABASE = "meshinfer.db"
JOIN_PATIENCE = 15.0
"""Seconds: a dial to a host that does not answer takes ten."""


def run(config: Config, *, say: Callable[[str], None], on_ready: Callable[[dict[str, Any]], None]) -> None:
    """Be a peer until SIGINT or SIGTERM. Raises MeshInferError for what the user can mend, StoreDamaged for what the
    next start does.
    """
    make_home(config.home)
    with hold(config.home):
        identity = load_or_create(config.home / "identity.key")
        _unwrapped(trio.run, _until_signal, config, identity, say, on_ready)


async def _until_signal(
    config: Config, identity: Identity, say: Callable[[str], None], on_ready: Callable[[dict[str, Any]], None]
) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            peer = _Peer(config, identity, say, on_ready)
            nursery.start_soon(peer.run, nursery.cancel_scope)
            async for _ in signals:
                say("stopping")
                peer.stop()
                break
        # A second signal ends the process in the usual way.


class _Peer:
    """Staged: the node's services end first, then its work is put away, then the mesh closes, last the store."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        say: Callable[[str], None],
        on_ready: Callable[[dict[str, Any]], None],
        *,
        is_guest: bool = False,
    ) -> None:
        self.config, self.identity, self.say, self.on_ready, self.is_guest = config, identity, say, on_ready, is_guest
        self._stopping = trio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self, scope: trio.CancelScope | None = None) -> None:
        from meshinfer.mesh.libp2p import open_mesh  # takes half a second: after the checks that may fail

        config, settings = self.config, self.config.mesh
        book = await trio.to_thread.run_sync(open_book, config.home)  # imports the runtime, which takes a moment
        say_soon = partial(_soon, trio.lowlevel.current_trio_token())
        opener = Opener(book, lambda text: say_soon(lambda: self.say(text)))
        shelf = open_shelf(config, self.identity, self.say, on_cpu if config.limits.cpu_only else opener)
        db = await trio.to_thread.run_sync(open_healed, config.home / DATABASE)
        damaged = trio.Event()
        db.on_damage = partial(_soon, trio.lowlevel.current_trio_token(), damaged.set)
        log = EventLog(db, self.identity.peer_id)
        try:
            head = await trio.to_thread.run_sync(log.head)
            cards = await trio.to_thread.run_sync(shelf.runnable)
            for why in (await trio.to_thread.run_sync(shelf.refused)).values():
                self.say(why)
            async with open_mesh(
                self.identity,
                listen=settings.listen,
                announce=settings.announce,
                mesh=settings.name,
                bootstrap=settings.bootstrap,
                swarm_key=_swarm_key(settings.swarm_key),
            ) as mesh:
                node = Node(
                    config,
                    self.identity,
                    mesh,
                    db,
                    shelf,
                    book,
                    log=log,
                    head=head,
                    cards=cards,
                    say=self.say,
                    guest=self.is_guest,
                )
                try:
                    async with trio.open_nursery() as services:
                        await services.start(node.serve)
                        if self.is_guest:
                            await _join(node)
                        self.on_ready(node.status())
                        keep_the_loop_free()
                        await _first(node.stop, self._stopping, damaged)
                        services.cancel_scope.cancel()
                finally:
                    await node.close()
        finally:
            db.close()
        if db.damage is not None:
            raise db.damage
        if scope is not None:
            scope.cancel()


def open_shelf(config: Config, identity: Identity, say: Callable[[str], None], opener: Open = on_cpu) -> Shelf:
    """The models of the peer in the home. Who changes it holds the home's lock: a node knows what it has loaded."""
    return Shelf(
        models_folder(config.home),
        identity.peer_id,
        identity.sign,
        signers=config.models.signers,
        budget=config.models.budget_mb * 2**20,
        memory=config.limits.model_memory_mb,
        opener=opener,
        isolate=config.models.isolate,
        trial=try_model,
        say=say,
    )


def keep_the_loop_free() -> None:
    """Threads that compute hold the GIL for shorter spells, and what is loaded by now is never looked at by the
    garbage collector again: both are measured as loop lag (scripts/bench dispatch)."""
    sys.setswitchinterval(0.001)
    gc.collect()
    gc.freeze()


async def _first(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def one(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(one, event)


def _soon(token: trio.lowlevel.TrioToken, act: Callable[[], None]) -> None:
    """From any thread, and without waiting."""
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(act)


async def _join(node: Node) -> None:
    """Wait until a peer is connected and has told what it knows. Raises MeshError."""
    with trio.move_on_after(JOIN_PATIENCE) as waiting:
        while not await _told(node):
            await trio.sleep(0.05)
    if waiting.cancelled_caught:
        causes = sorted({u.error for u in node.mesh.unreached().values()})
        raise MeshError(
            f"no bootstrap peer could be reached in {JOIN_PATIENCE:.0f} s: {'; '.join(causes) or 'none answered'}; "
            "is one of them up, in the same mesh and with the same swarm key?"
        )


async def _told(node: Node) -> bool:
    for peer in sorted(node.mesh.peers):
        with suppress(MeshInferError, trio.TooSlowError):
            await node.sync.with_peer(peer)
            return True
    return False


@contextmanager
def guest(config: Config) -> Iterator[Path]:
    """Join the mesh for as long as the context lasts, with an identity and a folder of its own; the control socket's
    path.
    """
    with tempfile.TemporaryDirectory(prefix="meshinfer-") as folder:
        here = msgspec.structs.replace(config, home=Path(folder), source=())
        with _in_background(here, ephemeral(), lambda text: None, is_guest=True) as socket:
            yield socket


@contextmanager
def background(config: Config, *, say: Callable[[str], None]) -> Iterator[Path]:
    """Be a peer for as long as the context lasts, in a thread; the control socket's path. Raises what `run` raises."""
    make_home(config.home)
    with hold(config.home), _in_background(config, load_or_create(config.home / "identity.key"), say) as socket:
        yield socket


@contextmanager
def _in_background(
    config: Config, identity: Identity, say: Callable[[str], None], *, is_guest: bool = False
) -> Iterator[Path]:
    handle: dict[str, Any] = {}
    ready = threading.Event()

    async def main() -> None:
        peer = _Peer(config, identity, say, lambda status: ready.set(), is_guest=is_guest)
        handle["stop"] = (trio.lowlevel.current_trio_token(), peer.stop)
        await peer.run()

    def thread() -> None:
        try:
            _unwrapped(trio.run, main)
        except BaseException as e:  # noqa: BLE001  raised again in the thread that waits
            handle["error"] = e
        finally:
            ready.set()

    worker = threading.Thread(target=thread, name="peer", daemon=True)
    worker.start()
    try:
        ready.wait()
        if "error" in handle:
            raise handle["error"]
        yield socket_path(config.home)
    finally:
        if worker.is_alive() and "stop" in handle:
            _soon(*handle["stop"])
        worker.join(10.0)


def _swarm_key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return parse_swarm_key(path.read_text())
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}; `meshinfer init --swarm-key` makes a good one") from None
    except OSError as e:
        raise ConfigError(f"{path}: the swarm key cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a swarm key: no text") from None


def _unwrapped(function: Callable[..., object], *args: object) -> None:
    """Trio's nurseries wrap errors in groups; the first of ours is what the user should read. Damage comes before all
    that follows from it.
    """
    try:
        function(*args)
    except BaseExceptionGroup as group:
        ours, bugs = group.split(MeshInferError)
        if ours is None or bugs is not None:
            raise
        raise min(_leaves(ours), key=lambda e: not isinstance(e, StoreDamaged)) from None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
