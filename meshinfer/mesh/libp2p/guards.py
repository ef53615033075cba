# mypy: allow-subclassing-any
# (libp2p ships no usable types: its classes are Any here)
"""What keeps a node alive on py-libp2p 0.8.1: the swarm and the supervisor of its tasks.

LIBP2P rows: exceptions in inbound streams (whatever a peer provokes is counted, never spread), inbound slots (one
leaked per connection ever accepted), redial and keep connections (no dialing of libp2p's own), shutdown.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import libp2p.network.connection.swarm_connection as swarm_connection
import trio
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm

from meshinfer.mesh.libp2p.transport import Socket, upgrading

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that libp2p brings; trio's own types give way to them

log = logging.getLogger("meshinfer.mesh")

DAEMON_REST = 1.0
"""Seconds before a background loop of libp2p that failed (its heartbeat, say) is started again."""

# swarm_connection logs on the root logger, which prints to the user's terminal: give it one below libp2p's.
swarm_connection.logging = logging.getLogger("libp2p.network.connection")


def silence() -> None:
    """libp2p logs every peer that hangs up as an error. What matters of it is in our counters."""
    for name in ("libp2p", "multiaddr"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class Supervisor:
    """Runs one libp2p service and its tasks. In the place of libp2p's TrioManager, where any exception of any task ends
    the service, and where starting a task walks through all others."""

    def __init__(self, service: Any, counters: Counter[str]) -> None:
        self._service = service
        self._counters = counters
        self._nursery: trio.Nursery | None = None
        self._finished = trio.Event()
        self.is_cancelled = False
        service._manager = self

    @property
    def is_started(self) -> bool:
        return self._nursery is not None

    @property
    def is_running(self) -> bool:
        return self.is_started and not self.is_cancelled and not self._finished.is_set()

    @property
    def is_finished(self) -> bool:
        return self._finished.is_set()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._guard, self._service.run, ())
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._finished.set()

    async def wait_finished(self) -> None:
        await self._finished.wait()

    def cancel(self) -> None:
        self.is_cancelled = True
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def stop(self) -> None:
        self.cancel()
        await self._finished.wait()

    def run_task(self, function: Callable[..., Awaitable[None]], *args: Any, name: str | None = None) -> None:
        assert self._nursery is not None, "a task before its service runs"
        self._nursery.start_soon(self._guard, function, args, name=name)

    def run_daemon_task(self, function: Callable[..., Awaitable[None]], *args: Any, name: str | None = None) -> None:
        async def again_and_again() -> None:
            while True:
                await self._guard(function, args)
                await trio.sleep(DAEMON_REST)

        assert self._nursery is not None, "a task before its service runs"
        self._nursery.start_soon(again_and_again, name=name)

    async def _guard(self, function: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        try:
            await function(*args)
        except* Exception as group:  # noqa: BLE001 - the point of this class: tasks raise whatever a peer provokes
            name = getattr(function, "__name__", "task")
            self._counters[f"guarded_{name}"] += 1
            level = logging.ERROR if function == self._service.run else logging.DEBUG
            log.log(level, "guarded %s of %s: %r", name, type(self._service).__name__, group.exceptions[0])
            owner = getattr(function, "__self__", self._service)
            if owner is not self._service and hasattr(owner, "close") and self.is_running:
                self.run_task(owner.close)  # half a connection is worse than none


@asynccontextmanager
async def supervised(service: Any, counters: Counter[str], patience: float) -> AsyncIterator[None]:
    """Run `service` inside the context; leaving it takes at most `patience` seconds."""
    supervisor = Supervisor(service, counters)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        try:
            yield
        finally:
            with trio.move_on_after(patience) as scope:
                scope.shield = True
                await supervisor.stop()
            nursery.cancel_scope.cancel()


class _NoAutoConnector(AutoConnector):
    """Dials nobody: libp2p's own dials addresses that strangers sent until it has 150 connections."""

    async def maybe_connect(self) -> None:
        return


class GuardedSwarm(Swarm):
    """The swarm, with its inbound connections accounted for."""

    def __init__(self, *args: Any, counters: Counter[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_connector = _NoAutoConnector(swarm=self, auto_connect_interval=3600.0)
        self._counters = counters

    async def _do_handle_inbound_connection(self, socket: Socket, maddr: Any, failure_event: Any) -> None:
        """Hold the inbound slot until this connection closes. 0.8.1 holds it until the swarm does."""
        try:
            await self.upgrade_inbound_raw_conn(RawConnection(socket, False), maddr)
        except Exception as error:  # noqa: BLE001 - whoever dials in can make the handshake fail in any way
            self._counters["inbound_refused"] += 1
            log.debug("inbound connection refused: %s", error)
            socket.cut()
        else:
            await socket.closed.wait()

    async def upgrade_inbound_raw_conn(self, raw_conn: RawConnection, maddr: Any) -> Any:
        token = upgrading.set(raw_conn.stream)
        try:
            return await super().upgrade_inbound_raw_conn(raw_conn, maddr)
        finally:
            upgrading.reset(token)

    async def upgrade_outbound_raw_conn(self, raw_conn: RawConnection, peer_id: Any, pre_scope: Any = None) -> Any:
        raw = getattr(raw_conn, "_conn", raw_conn)  # a pre-shared key wraps the connection once more
        token = upgrading.set(raw.stream)
        try:
            return await super().upgrade_outbound_raw_conn(raw_conn, peer_id, pre_scope)
        finally:
            upgrading.reset(token)
