"""`meshinfer status`: how the local node is doing."""

from __future__ import annotations

from typing import Any

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket


@verb("status")
def status(session: Session) -> None:
    """Say how the local node is doing.

    Who it is, where it can be reached, what it is working on, whom it cannot reach, and what it noticed.
    -v adds counters.

    \b
    Example:
      meshinfer status
      meshinfer status --json | jq .running
    """
    from meshinfer.node.client import ask

    answer = ask(node_socket(session), "status")
    if session.json:
        session.out.data(answer)
    else:
        _show(session, answer)


def _show(session: Session, answer: dict[str, Any]) -> None:
    from meshinfer.cli.output import count, size, span, who

    out = session.out
    out.say(f"{who(answer)}  {answer.get('peer', '')}", "bold")
    process = f"process {answer.get('pid')}, up {span(answer.get('uptime'))}"
    out.say(f"mesh {answer.get('mesh')}, version {answer.get('version')}, {process}")
    out.say(f"{count(int(answer.get('connected', 0)), 'peer')} connected, {answer.get('known', 0)} known")
    kept = count(int(answer.get("events", 0)), "event")
    out.say(f"{answer.get('running', 0)} running, {answer.get('queued', 0)} queued, {kept} kept")
    out.say(f"{size(answer.get('bytes_in'))} in, {size(answer.get('bytes_out'))} out over the mesh")
    for fetch in answer.get("fetching") or ():
        out.say(_fetching(fetch))
    if models := answer.get("models"):
        memory = answer.get("model_memory") or {}
        over = int(memory.get("bytes") or 0) > int(memory.get("budget") or 0)
        total = f"{size(memory.get('bytes'))} of {size(memory.get('budget'))}"
        out.say(f"{count(len(models), 'model')} loaded, {total}", "yellow" if over else "")
        for model in models:
            out.say(f"  {_loaded(model)}")
    for address in answer.get("addresses") or ():
        out.say(f"  {address}")
    for peer in answer.get("unreached") or ():
        where, error = ", ".join(str(a) for a in peer.get("addresses") or ()), str(peer.get("error"))
        cause = error if where and where in error else f"{where or peer.get('peer', '?')}: {error}"
        out.say(f"not reached for {span(peer.get('seconds'))}: {cause}", "red")
    for notice in answer.get("notices") or ():
        out.say(f"note: {notice}", "yellow")
    if session.verbose:
        for name, value in sorted((answer.get("counters") or {}).items()):
            out.say(f"  {name} {value}")


def _loaded(model: dict[str, Any]) -> str:
    from meshinfer.cli.output import clean, size, span

    use = "in use" if model.get("idle") is None else f"last used {span(model.get('idle'))} ago"
    aside = ", in a process of its own" if model.get("isolated") else ""
    return f"{clean(model.get('reference'))}  {size(model.get('bytes'))}, {use}{aside}"


def _fetching(fetch: dict[str, Any]) -> str:
    from meshinfer.cli.output import clean, size

    model, total = clean(fetch.get("model"))[:12], int(fetch.get("size") or 0)
    if fetch.get("from"):
        sources = ", ".join(clean(name) for name in fetch["from"])
        share = 100 * int(fetch.get("bytes") or 0) // total if total else 0
        return f"fetching model {model} from {sources}: {share} % of {size(total)}"
    return f"fetching model {model}: {clean(fetch.get('trouble') or 'no peer in reach has it')}"
