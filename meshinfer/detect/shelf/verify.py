"""Everything that can be wrong with a model on the shelf, looked at anew."""

from __future__ import annotations

from msgspec import Struct

from meshinfer.detect.card import ModelCard
from meshinfer.detect.shelf.shelf import Shelf
from meshinfer.errors import ModelError


class Finding(Struct, frozen=True):
    check: str
    ok: bool
    what: str


def verify(shelf: Shelf, card: ModelCard) -> tuple[Finding, ...]:
    """Its bytes, its chunks, its seals, their signers, and whether it loads: it is loaded only if all else is well."""
    held = shelf.held(card.digest)
    findings = []
    try:
        bundle = shelf.check_bytes(card.digest)
        what = "the file is" if not bundle.sidecar else "file and sidecar are"
        findings.append(Finding("bytes", True, f"{what} what the digest names"))
        bad = [v.signer for v in held.vouched if v.bundle.chunks != bundle.chunks]
        what = f"{len(bundle.chunks)} as they were signed" if not bad else f"not those that {', '.join(bad)} signed"
        findings.append(Finding("chunks", not bad, what))
    except ModelError as e:
        findings.append(Finding("bytes", False, str(e)))
    unsound = shelf.unsound_seals(card.digest)
    count = len(held.vouched)
    what = f"{unsound} of {count + unsound} are damaged or forged" if unsound else f"{count} genuine"
    findings.append(Finding("seals", not unsound, what))
    findings.append(_trust(shelf, card))
    if all(f.ok for f in findings):
        try:
            shelf.try_out(card.digest)
            findings.append(Finding("loads", True, f"as {card.layout}"))
        except ModelError as e:
            findings.append(Finding("loads", False, str(e)))
    return tuple(findings)


def _trust(shelf: Shelf, card: ModelCard) -> Finding:
    held = shelf.held(card.digest)
    if why := shelf.why_untrusted(held):
        return Finding("trust", False, why)
    trusted = [v.signer for v in held.vouched if shelf.trusts(v.signer)]
    return Finding("trust", True, f"signed by {', '.join(trusted)}" if trusted else "comes with meshinfer")
