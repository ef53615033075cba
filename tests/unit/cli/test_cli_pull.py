"""`meshinfer models pull`, from a server on this machine that does all that servers and networks do."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import Result

from meshinfer.cli.models import download as module
from meshinfer.cli.models.download import check_url, download
from meshinfer.detect import wellknown
from meshinfer.detect.wellknown import WELL_KNOWN, WellKnown
from meshinfer.errors import ConfigError, MeshError, ModelError
from meshinfer.model.ids import ModelDigest
from tests.vision.tiny_onnx import brightness_model

Cli = Callable[..., Result]
DATA = brightness_model()


class Server(ThreadingHTTPServer):
    """Serves `data` under any path; `breaks`: bytes after which a connection ends, one of these after another."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.data, self.status, self.ranges, self.location = DATA, 200, True, ""
        self.breaks: list[int] = []
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, span = self.server, self.headers.get("Range")
        server.asked.append((self.path, span))
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and server.ranges else 0
        data = server.data[start:]
        self.send_response(206 if start else server.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        if server.location:
            self.send_header("Location", server.location)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: server.breaks.pop(0)] if server.breaks else data)

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.path, None))
        self.send_error(501)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "MESHINFER_MODELS_URL"):
        monkeypatch.delenv(name, raising=False)
    tiny = WellKnown("tiny", "1", "", ModelDigest(hashlib.sha256(DATA).hexdigest()), len(DATA), "MIT", "grey")
    monkeypatch.setattr(wellknown, "WELL_KNOWN", (tiny,))
    with Server() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def fetch(server: Server, part: Path) -> list[int]:
    heard: list[int] = []
    download(f"{server.url}/m", part, size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest(), progress=heard.append)
    return heard


def test_a_model_is_pulled_and_added(server: Server, cli: Cli, home: Path) -> None:
    result = cli("models", "pull", "tiny", "--from", f"{server.url}/mirror/", "--json")
    assert result.exit_code == 0, result.stderr
    model = json.loads(result.stdout)["model"]
    assert (model["name"], model["version"], model["licence"]) == ("tiny", "1", "MIT")
    assert server.asked == [("/mirror/tiny.onnx", None)]
    assert not (home / "downloads").exists()
    again = cli("models", "pull", "tiny@1", env={"MESHINFER_MODELS_URL": server.url})
    assert (again.exit_code, len(server.asked)) == (0, 1)
    assert "it is here already" in again.stdout
    cli("models", "rm", "tiny")
    (home / "config.toml").write_text(f'[models]\nurl = "{server.url}/settings"\n')
    assert cli("models", "pull", "tiny").exit_code == 0
    assert server.asked[1:] == [("/settings/tiny.onnx", None)]


def test_what_breaks_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, 0, 700]
    heard = fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == DATA
    assert [span for _, span in server.asked] == [None, "bytes=1000-", "bytes=1000-", "bytes=1700-"]
    assert heard == sorted(heard)
    assert heard[-1] == len(DATA)


def test_what_breaks_off_for_good_goes_on_the_next_time(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000] + [0] * module.ATTEMPTS
    with pytest.raises(MeshError, match=rf"broke off at 1000 of {len(DATA)} bytes .*it goes on there"):
        fetch(server, tmp_path / "part")
    fetch(server, tmp_path / "part")
    assert server.asked[-1][1] == "bytes=1000-"
    assert (tmp_path / "part").read_bytes() == DATA
    count = len(server.asked)
    fetch(server, tmp_path / "part")
    assert len(server.asked) == count, "nothing is asked for that is there"


def test_a_server_without_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges, server.breaks = False, [1000]
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == DATA


@pytest.mark.parametrize(
    ("data", "said"),
    [(DATA[:-1] + b"x", "is not the file it should be"), (DATA + b"x", f"larger than the {len(DATA)} bytes")],
    ids=["another", "larger"],
)
def test_another_file_is_thrown_away(server: Server, tmp_path: Path, data: bytes, said: str) -> None:
    server.data = data
    with pytest.raises(ModelError, match=said):
        fetch(server, tmp_path / "part")
    server.data = DATA
    fetch(server, tmp_path / "part")
    assert server.asked[-1][1] is None, "from the start"


def test_a_shorter_file_is_given_up(server: Server, tmp_path: Path) -> None:
    server.data = DATA[:-9]
    with pytest.raises(MeshError, match="broke off at"):
        fetch(server, tmp_path / "part")


def test_not_there(server: Server, cli: Cli) -> None:
    server.status = 404
    result = cli("models", "pull", "tiny", "--from", server.url)
    assert result.exit_code == 1
    assert "404" in result.stderr
    assert "`--from` names a mirror" in result.stderr
    assert "Traceback" not in result.output


def test_nobody_answers(server: Server, cli: Cli) -> None:
    server.server_close()
    result = cli("models", "pull", "tiny", "--from", server.url)
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert "HTTPS_PROXY" in result.stderr


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_take", full)
    with pytest.raises(ModelError, match="disk is full"):
        fetch(server, tmp_path / "part")


def test_two_at_a_time(server: Server, tmp_path: Path) -> None:
    with (tmp_path / "part").open("ab") as other:
        module._hold(other, tmp_path / "part")
        with pytest.raises(ConfigError, match="another process"):
            fetch(server, tmp_path / "part")


def test_the_proxy_of_the_environment_is_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", server.url)
    with pytest.raises(MeshError, match=r"cannot be reached .*501"):  # this server is none
        download("https://models.example.org/m", tmp_path / "part", size=1, sha256="", progress=lambda _: None)
    assert server.asked == [("models.example.org:443", None)]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(server, tmp_path / "part")


@pytest.mark.parametrize("url", ["http://example.org/m", "file:///etc/passwd", "ftp://127.0.0.1/m", "m.onnx", "//"])
def test_only_https_beyond_this_machine(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected https://"):
        check_url(url)
    server.status, server.location = 302, url
    with pytest.raises((ConfigError, MeshError)):  # a relative one leads back here, until that is too much
        fetch(server, tmp_path / "part")


def test_the_table(cli: Cli, assets: Path) -> None:
    for known, file in zip(WELL_KNOWN, ("yolox_nano", "fastestdet", "yunet_n_320"), strict=True):
        data = (assets / "models" / f"{file}.onnx").read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (known.sha256, known.size)
        check_url(known.url)
        assert known.licence in ("Apache-2.0", "BSD-3-Clause", "MIT")
        assert known.name in cli("models", "pull").stdout


def test_a_real_model_by_way_of_a_mirror(
    cli: Cli, assets: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wellknown, "WELL_KNOWN", WELL_KNOWN)
    server.data = (assets / "models" / "fastestdet.onnx").read_bytes()
    result = cli("models", "pull", "fastestdet", "--from", server.url)
    assert result.exit_code == 0, result.stderr
    assert "BSD-3-Clause" in result.stdout
    assert "352x352" in result.stdout
