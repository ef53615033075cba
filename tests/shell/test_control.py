"""The control socket: a real Unix socket, in real time."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from meshinfer.errors import ConfigError, ModelError, PartialResult
from meshinfer.node import control

Answers = AsyncGenerator[dict[str, Any], None]


class Calls:
    """Some of each sort."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = trio.Event()

    def table(self) -> dict[str, control.Call]:
        names = ("status", "echo", "stream", "flood", "fails", "partly", "crashes", "crashes_within", "nursery")
        return {name: getattr(self, name) for name in names}

    async def status(self, args: dict[str, Any]) -> Answers:
        yield {"end": {"peer": "me"}}

    async def echo(self, args: dict[str, Any]) -> Answers:
        yield {"end": args}

    async def stream(self, args: dict[str, Any]) -> Answers:
        self.begun += 1
        try:
            yield {"data": 1}
            await trio.sleep_forever()
        finally:
            self.ended.set()

    async def flood(self, args: dict[str, Any]) -> Answers:
        try:
            while True:
                yield {"data": "x" * 10_000}
        finally:
            self.ended.set()

    async def nursery(self, args: dict[str, Any]) -> Answers:
        """As `subscribe` does."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                while True:
                    yield {"data": "x" * 10_000}
        finally:
            self.ended.set()

    async def fails(self, args: dict[str, Any]) -> Answers:
        yield {"data": 1}
        raise ModelError("no such model")

    async def partly(self, args: dict[str, Any]) -> Answers:
        if not args:
            raise PartialResult("bob is missing")
        yield {}

    async def crashes(self, args: dict[str, Any]) -> Answers:
        yield {"end": float(args["min_score"])}

    async def crashes_within(self, args: dict[str, Any]) -> Answers:
        async def child() -> None:
            raise ModelError("deep inside")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep(60)
        yield {}


class Door:
    def __init__(self, path: Path, calls: Calls) -> None:
        self.path, self.calls = path, calls

    async def connect(self) -> trio.SocketStream:
        return await trio.open_unix_socket(str(self.path))

    async def ask(self, request: bytes | dict[str, Any]) -> list[dict[str, Any]]:
        data = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
        async with await self.connect() as stream:
            await stream.send_all(data)
            answer = b""
            with trio.fail_after(5):
                while chunk := await stream.receive_some(65536):
                    answer += chunk
        return [json.loads(line) for line in answer.splitlines()]

    async def is_open(self) -> None:
        assert await self.ask({"call": "status"}) == [{"end": {"peer": "me"}}]


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[Door]:
    path, calls = tmp_path / "node.sock", Calls()
    with control.bind(path) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(control.serve, sock, calls.table())
            yield Door(path, calls)
            nursery.cancel_scope.cancel()


def kind(answers: list[dict[str, Any]]) -> tuple[str, int]:
    error = answers[-1]["error"]
    assert error["message"]
    return error["kind"], error["exit"]


async def test_only_the_owner_may_open_it(tmp_path: Path) -> None:
    (tmp_path / "node.sock").write_text("left by an earlier run")
    async with opened(tmp_path) as door:
        mode = door.path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        await door.is_open()


def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with pytest.raises(ConfigError, match=r"too long.*shorter"):
        control.bind(deep / "node.sock")


@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\n",
        b"{}\n",
        b'{"call": 7}\n',
        b'{"call": "status", "args": []}\n',
        b'{"call": "status", "more": 1}\n',
        b"[" * 100_000 + b"\n",
    ],
)
async def test_garbage_is_answered_with_an_error(tmp_path: Path, request_: bytes) -> None:
    async with opened(tmp_path) as door:
        assert kind(await door.ask(request_)) == ("ConfigError", 2)
        await door.is_open()


async def test_an_unknown_call_is_named(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        answers = await door.ask({"call": "frobnicate"})
        assert kind(answers) == ("ConfigError", 2)
        assert "frobnicate" in answers[0]["error"]["message"]


async def test_a_request_may_be_large_but_not_endless(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        big = {"call": "echo", "args": {"spec": "x" * 900_000}}
        assert await door.ask(big) == [{"end": big["args"]}]
        async with await door.connect() as stream:
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x" * 10_000_000)
        await door.is_open()


async def test_a_request_that_never_ends_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_PATIENCE", 0.1)
    async with opened(tmp_path) as door:
        assert kind(await door.ask(b'{"call": ')) == ("ConfigError", 2)
        await door.is_open()


async def test_errors_carry_their_kind_and_exit_code(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        assert kind(await door.ask({"call": "fails"})) == ("ModelError", 1)
        assert kind(await door.ask({"call": "partly"})) == ("PartialResult", 4)
        assert kind(await door.ask({"call": "crashes_within"})) == ("ModelError", 1)
        await door.is_open()


@pytest.mark.parametrize("args", [{}, {"min_score": "high"}, {"min_score": []}])
async def test_a_call_that_crashes_does_not_take_the_node_along(tmp_path: Path, args: dict[str, Any]) -> None:
    async with opened(tmp_path) as door:
        assert kind(await door.ask({"call": "crashes", "args": args})) == ("MeshInferError", 1)
        await door.is_open()


@pytest.mark.parametrize("call", ["stream", "flood", "nursery"])
async def test_a_client_that_hangs_up_ends_its_call(tmp_path: Path, call: str) -> None:
    """Whether the call waits, or its answers wait for the client, or it has tasks of its own."""
    async with opened(tmp_path) as door:
        stream = await door.connect()
        await stream.send_all(json.dumps({"call": call}).encode() + b"\n")
        assert await stream.receive_some(10)
        if call != "stream":
            await trio.sleep(0.05)  # its buffers are full now
        await stream.aclose()
        with trio.fail_after(2):
            await door.calls.ended.wait()
        await door.is_open()


async def test_too_many_clients_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 4)
    async with opened(tmp_path) as door:
        streams = []
        for n in range(4):
            streams.append(await door.connect())
            await streams[-1].send_all(b'{"call": "stream"}\n')
            await streams[-1].receive_some(10)
            assert door.calls.begun == n + 1
        assert kind(await door.ask({"call": "status"})) == ("MeshInferError", 1)
        await streams.pop().aclose()
        with trio.fail_after(2):
            await door.calls.ended.wait()
            while "error" in (await door.ask({"call": "status"}))[0]:
                await trio.sleep(0.01)
        for stream in streams:
            await stream.aclose()


async def test_a_client_that_says_nothing_holds_up_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        with socket.socket(socket.AF_UNIX) as mute:
            mute.connect(str(door.path))
            await door.is_open()
        await door.is_open()
