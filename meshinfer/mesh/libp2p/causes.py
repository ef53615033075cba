"""Why something failed, in words of ours: libp2p wraps one error in another."""

from __future__ import annotations

from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from libp2p.transport.exceptions import SecurityUpgradeFailure


def cause(error: BaseException) -> str:
    """The innermost reason: libp2p wraps `Connection refused` three times, and trio puts it into a group."""
    innermost = _chain(error)[-1]
    return str(innermost) or type(innermost).__name__


def why_not(error: BaseException) -> str:
    """Why a dial failed, in words: what libp2p says of a handshake that failed is about its bytes."""
    chain = _chain(error)
    if any(isinstance(e, PeerIDMismatchesPubkey) for e in chain):
        return "another peer lives there: copy the address that its `meshinfer up` prints now"
    if any(isinstance(e, SecurityUpgradeFailure) for e in chain):
        return "it answers, but not as a peer of this mesh: does it have the same swarm key?"
    return cause(error)


def _chain(error: BaseException) -> list[BaseException]:
    """`error` and its causes, from the outside in."""
    chain = [error]
    while len(chain) < 100:
        last = chain[-1]
        inner = last.exceptions[0] if isinstance(last, BaseExceptionGroup) else last.__cause__ or last.__context__
        if inner is None:
            break
        chain.append(inner)
    return chain
