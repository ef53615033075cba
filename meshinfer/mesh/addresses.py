"""Multiaddrs as meshinfer uses them: TCP over an IP or a DNS name, with the peer's id at the end where one dials."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

import base58

from meshinfer.errors import ConfigError
from meshinfer.mesh.identity import PEER_ID_PREFIX
from meshinfer.model.ids import PeerId

EXAMPLE = "/ip4/192.168.1.20/tcp/4001/p2p/12D3KooW..."
MAX_LENGTH = 512

_HOSTNAME = re.compile(r"^(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?)+$")


class Address(NamedTuple):
    """A parsed multiaddr. `family` is ip4, ip6, dns, dns4 or dns6; `peer` is None where the address names no peer."""

    family: str
    host: str
    port: int
    peer: PeerId | None

    @property
    def transport(self) -> str:
        return f"/{self.family}/{self.host}/tcp/{self.port}"

    def __str__(self) -> str:
        return self.transport if self.peer is None else f"{self.transport}/p2p/{self.peer}"


def parse_address(text: str) -> Address:
    """Parse a multiaddr. Raises `ConfigError` that says which part is wrong and shows a good one."""

    def wrong(why: str) -> ConfigError:
        return ConfigError(f"bad address {text[:MAX_LENGTH]!r}: {why}; a good one looks like {EXAMPLE}")

    if len(text) > MAX_LENGTH:
        raise wrong(f"longer than {MAX_LENGTH} characters")
    parts = text.split("/")
    if parts[0] != "" or len(parts) < 5:
        raise wrong("it is not /<ip4|ip6|dns4|dns6>/<host>/tcp/<port>")
    _, family, host, transport, number, *rest = parts
    if family in ("ip4", "ip6"):
        try:
            host = str(ipaddress.IPv4Address(host) if family == "ip4" else ipaddress.IPv6Address(host))
        except ValueError as error:
            raise wrong(f"{host!r} is no {family} address") from error
    elif family in ("dns", "dns4", "dns6"):
        if not _HOSTNAME.match(host):
            raise wrong(f"{host!r} is no host name")
    else:
        raise wrong(f"/{family} is not supported (ip4, ip6, dns4, dns6 are)")
    if transport != "tcp":
        raise wrong(f"/{transport} is not supported (only tcp is)")
    if not (number.isascii() and number.isdigit() and int(number) < 65536):
        raise wrong(f"{number!r} is no port")
    if not rest:
        return Address(family, host, int(number), None)
    if len(rest) != 2 or rest[0] != "p2p":
        raise wrong(f"unknown ending /{'/'.join(rest)}")
    return Address(family, host, int(number), parse_peer(rest[1]))


def parse_peer(text: str) -> PeerId:
    """A peer id whose public key is inside it. Raises `ConfigError`."""
    try:
        raw = base58.b58decode(text) if len(text) <= 64 else b""
    except ValueError:
        raw = b""
    if len(raw) != len(PEER_ID_PREFIX) + 32 or not raw.startswith(PEER_ID_PREFIX):
        raise ConfigError(f"{text[:80]!r} is no ed25519 peer id (52 characters that start with 12D3KooW)")
    return PeerId(text)


def parse_listen(text: str) -> Address:
    """An address to listen on: an IP of this machine, 0.0.0.0 or ::, port 0 for any free one. Raises `ConfigError`."""
    address = parse_address(text)
    if address.family not in ("ip4", "ip6"):
        raise ConfigError(f"cannot listen on {text!r}: give an IP address of this machine, or 0.0.0.0 for all of them")
    return address


def parse_announce(text: str) -> Address:
    """Where others reach this peer through a forwarded port or a proxy. Raises `ConfigError`."""
    address = parse_address(text)
    if address.peer is not None:
        raise ConfigError(f"cannot announce {text!r}: leave /p2p/... out, the peer's own id is put there")
    if address.port == 0:
        raise ConfigError(f"cannot announce port 0 in {text!r}: say the port that others dial")
    return address


def parse_dial(text: str) -> tuple[PeerId, str]:
    """A peer and where it can be dialed. Raises `ConfigError` where the address names no peer."""
    address = parse_address(text)
    if address.peer is None:
        raise ConfigError(
            f"the address {text!r} doesn't say which peer lives there; copy the whole line that its `meshinfer up` "
            f"prints, with /p2p/12D3KooW... at the end"
        )
    if address.port == 0:
        raise ConfigError(f"cannot dial port 0 in {text!r}")
    return address.peer, str(address)


def advertised(listening: list[Address], interfaces: list[str], me: PeerId) -> tuple[str, ...]:
    """What others can dial: wildcards become the machine's interface addresses, loopback first (it is the surest)."""
    found: dict[str, bool] = {}
    for address in listening:
        if not ipaddress.ip_address(address.host).is_unspecified:
            hosts = [address.host]
        else:
            hosts = [host for host in interfaces if (":" in host) == (address.family == "ip6")]
        for host in hosts:
            ip = ipaddress.ip_address(host)
            if not (isinstance(ip, ipaddress.IPv6Address) and ip.is_link_local):  # useless without a zone
                found[f"/{address.family}/{host}/tcp/{address.port}/p2p/{me}"] = ip.is_loopback
    return tuple(sorted(found, key=lambda a: not found[a]))
