"""Identities, addresses and swarm keys: what the user keeps in files and types on the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.serialization import deserialize_public_key
from libp2p.peer.id import ID
from nacl.signing import VerifyKey

from meshinfer.errors import ConfigError
from meshinfer.mesh.addresses import Address, advertised, parse_address, parse_announce, parse_dial, parse_listen
from meshinfer.mesh.identity import KEY_PREFIX, SHORT_KEY_PREFIX, Identity, ephemeral, load_or_create
from meshinfer.mesh.swarm_key import format_swarm_key, parse_swarm_key
from meshinfer.model.ids import PeerId

SEED = bytes(range(32))
PEER = "12D3KooWBHqbZhTd2dXSbsstVpqSfimJoKsgcBqQjxQjrTrGNVkS"


def test_the_peer_id_is_libp2ps_and_holds_the_key_that_verifies() -> None:
    identity = Identity.from_seed(SEED)
    keys = create_new_key_pair(SEED)
    assert identity.peer_id == ID.from_pubkey(keys.public_key).to_base58()
    assert keys.public_key.verify(b"data", identity.sign(b"data"))
    raw = ID.from_string(identity.peer_id).to_bytes()
    assert deserialize_public_key(raw[2:]).verify(b"data", identity.sign(b"data"))
    VerifyKey(raw[6:]).verify(b"data", identity.sign(b"data"))


def test_the_seed_is_in_no_repr() -> None:
    assert repr(Identity.from_seed(SEED)) == f"Identity(peer_id='{Identity.from_seed(SEED).peer_id}')"


def test_an_identity_is_created_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "identity"
    first = load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == KEY_PREFIX + first.seed + bytes(VerifyKey(ID.from_string(first.peer_id).to_bytes()[6:]))
    assert load_or_create(path) == first
    assert [p.name for p in path.parent.iterdir()] == ["identity"]
    assert ephemeral() != ephemeral()


def test_a_key_file_of_py_libp2p_is_read(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    path.touch(mode=0o600)
    path.write_bytes(SHORT_KEY_PREFIX + SEED)
    assert load_or_create(path) == Identity.from_seed(SEED)


@pytest.mark.parametrize("data", [b"", b"\x08\x01\x12\x40short", KEY_PREFIX + SEED + bytes(32), bytes(10_000)])
def test_a_file_that_is_no_key_is_said_and_kept(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "identity"
    path.touch(mode=0o600)
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="no libp2p ed25519 private key"):
        load_or_create(path)
    assert path.read_bytes() == data


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_or_create(path)


def test_what_is_no_file_is_said_and_kept(tmp_path: Path) -> None:
    """A pipe above all: to open one would wait for ever."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("folder", "pipe"):
        with pytest.raises(ConfigError, match=f"{name} is no file; move it away"):
            load_or_create(tmp_path / name)
        assert not (tmp_path / name).is_file()


def test_a_key_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"cannot write the identity .*No space left"):
        load_or_create(tmp_path / "identity")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="identity"):
        load_or_create(tmp_path / "file" / "identity")


@pytest.mark.parametrize(
    "text",
    [
        f"/ip4/192.168.1.20/tcp/4001/p2p/{PEER}",
        f"/ip6/::1/tcp/4001/p2p/{PEER}",
        f"/dns4/camera-1.example.com/tcp/4001/p2p/{PEER}",
        f"/dns6/host/tcp/65535/p2p/{PEER}",
    ],
)
def test_good_addresses_come_back_as_they_are(text: str) -> None:
    assert str(parse_address(text)) == text
    assert parse_dial(text) == (PEER, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not /<ip4"),
        ("192.168.1.20:4001", "it is not /<ip4"),
        (f"/ip4/300.1.1.1/tcp/4001/p2p/{PEER}", "no ip4 address"),
        (f"/ip6/1.1.1.1/tcp/4001/p2p/{PEER}", "no ip6 address"),
        (f"/dns4/-bad-/tcp/4001/p2p/{PEER}", "no host name"),
        (f"/unix/sock/tcp/4001/p2p/{PEER}", "/unix is not supported"),
        ("/ip4/1.1.1.1/udp/4001/quic-v1", "/udp is not supported"),
        ("/ip4/1.1.1.1/tcp/65536", "no port"),
        ("/ip4/1.1.1.1/tcp/٣", "no port"),
        ("/ip4/1.1.1.1/tcp/1/ws", "unknown ending /ws"),
        (f"/ip4/1.1.1.1/tcp/1/p2p/{PEER}/p2p-circuit", "unknown ending"),
        ("/ip4/1.1.1.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "no ed25519 peer id"),
        ("/ip4/1.1.1.1/tcp/1/p2p/0OIl", "no ed25519 peer id"),
        ("/ip4/1.1.1.1/tcp/1/p2p/" + "1" * 5000, "longer than"),
    ],
)
def test_bad_addresses_are_told_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_address(text)


def test_an_address_to_dial_names_its_peer_and_one_to_listen_on_is_of_this_machine() -> None:
    with pytest.raises(ConfigError, match="doesn't say which peer"):
        parse_dial("/ip4/1.1.1.1/tcp/4001")
    with pytest.raises(ConfigError, match="port 0"):
        parse_dial(f"/ip4/1.1.1.1/tcp/0/p2p/{PEER}")
    with pytest.raises(ConfigError, match="cannot listen"):
        parse_listen("/dns4/localhost/tcp/4001")
    assert parse_listen("/ip6/0::0/tcp/0") == Address("ip6", "::", 0, None)


def test_an_address_to_announce_names_no_peer_and_a_port_that_can_be_dialed() -> None:
    assert str(parse_announce("/dns4/yard.example/tcp/4001")) == "/dns4/yard.example/tcp/4001"
    with pytest.raises(ConfigError, match="cannot announce port 0"):
        parse_announce("/ip4/10.0.0.5/tcp/0")
    with pytest.raises(ConfigError, match="leave /p2p/"):
        parse_announce(f"/ip4/10.0.0.5/tcp/4001/p2p/{ephemeral().peer_id}")


def test_wildcards_are_advertised_as_interfaces_loopback_first_and_each_once() -> None:
    listening = [
        Address("ip4", "0.0.0.0", 1, None),
        Address("ip6", "::", 2, None),
        Address("ip4", "127.0.0.1", 1, None),
    ]
    found = advertised(listening, ["10.0.0.5", "127.0.0.1", "fe80::1", "2001:db8::1", "::1"], PeerId("me"))
    assert found == (
        "/ip4/127.0.0.1/tcp/1/p2p/me",
        "/ip6/::1/tcp/2/p2p/me",
        "/ip4/10.0.0.5/tcp/1/p2p/me",
        "/ip6/2001:db8::1/tcp/2/p2p/me",
    )


def test_a_swarm_key_is_read_in_both_encodings() -> None:
    assert parse_swarm_key(format_swarm_key(SEED)) == SEED
    assert (
        parse_swarm_key("/key/swarm/psk/1.0.0/\r\n/base64/\r\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\r\n") == SEED
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has 3 lines"),
        ("/key/swarm/psk/2.0.0/\n/base16/\n" + "00" * 32, "first line"),
        ("/key/swarm/psk/1.0.0/\n/bin/\n" + "00" * 32, "second line"),
        ("/key/swarm/psk/1.0.0/\n/base16/\nzz", "third line"),
        ("/key/swarm/psk/1.0.0/\n/base64/\nAA==!", "third line"),
        ("/key/swarm/psk/1.0.0/\n/base16/\n" + "00" * 31, "has 32 bytes, this one has 31"),
    ],
)
def test_a_bad_swarm_key_is_told_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_swarm_key(text)


def test_what_the_command_line_needs_of_the_mesh_does_not_import_libp2p() -> None:
    """libp2p takes half a second: `--help` must not pay for it."""
    names = ("api", "identity", "addresses", "swarm_key", "memory", "dialer")
    code = "import sys\n" + "".join(f"import meshinfer.mesh.{n}\n" for n in names)
    code += "print([n for n in sys.modules if n.split('.')[0] in ('libp2p', 'multiaddr')])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout == b"[]\n"
