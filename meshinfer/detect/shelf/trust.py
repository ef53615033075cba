"""Whose models may run here, and this peer's own seal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from meshinfer.detect.shelf.folder import MAX_SEALS
from meshinfer.model.bundle import Bundle, Vouched
from meshinfer.model.ids import PeerId
from meshinfer.wire.bundles import seal_bundle


class Trust:
    def __init__(self, me: PeerId, sign: Callable[[bytes], bytes], signers: Iterable[PeerId]) -> None:
        self.me = me
        self._sign = sign
        self._signers = frozenset((me, *signers))

    def __contains__(self, signer: PeerId) -> bool:
        return signer in self._signers

    def seal(self, bundle: Bundle) -> Vouched:
        return seal_bundle(bundle, self.me, self._sign)

    def best(self, seals: Iterable[Vouched]) -> tuple[Vouched, ...]:
        """Those to keep, one a signer: ours and the trusted first, lest the one that counts is lost among strangers'.

        Of one signer's the last counts.
        """
        by_signer = {v.signer: v for v in seals}
        ranked = sorted(by_signer.values(), key=lambda v: (v.signer != self.me, v.signer not in self))
        return tuple(ranked[:MAX_SEALS])

    def why_refused(self, reference: str, signers: Collection[PeerId]) -> str:
        """Why a model of these signers may not run here, and what would change it; "" where it may."""
        if any(signer in self for signer in signers):
            return ""
        if not signers:
            return f"{reference}: nobody's signature lies with it; `meshinfer models add FILE` signs it as this peer"
        who = ", ".join(sorted(signers)[:2]) + (", ..." if len(signers) > 2 else "")
        return (
            f"{reference}: signed by {who}, whom this peer does not trust; add the signer to `signers` under [models] "
            "in its settings if you do"
        )
