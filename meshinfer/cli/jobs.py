"""`meshinfer jobs`: the list, or one described."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket


@verb("jobs")
@click.argument("job", required=False)
@click.option(
    "--explain", is_flag=True, help="What has become of every task, and why: who has it, had it, or is waited for."
)
def jobs(session: Session, job: str | None, explain: bool) -> int:
    """List jobs, or describe one: who runs it, who declines, and why.

    JOB is an id, the start of one, or a name. Describing asks every peer, and names those that did not answer.

    \b
    Example:
      meshinfer jobs
      meshinfer jobs 3f2a --explain
    """
    from meshinfer.cli.views import show_job, show_jobs, show_story
    from meshinfer.node.client import ask

    node = node_socket(session)
    if job is None:
        answer = ask(node, "jobs")
        session.out.data(answer) if session.json else show_jobs(session.out, answer.get("jobs") or [])
        return 0
    view = ask(node, "job", {"job": job, "explain": explain})
    if session.json:
        session.out.data(view)
    else:
        show_job(session.out, view)
        show_story(session.out, view.get("story") or [])
        _show_spec(session, view)
    return 4 if view.get("missing") else 0


def _show_spec(session: Session, view: dict[str, object]) -> None:
    import json
    import time

    from meshinfer.cli.output import span

    published = float(str(view.get("published") or 0))
    by = view.get("publisher_name") or view.get("publisher")
    left = float(str(view.get("expires_in") or 0))
    expires = f"expires in {span(round(left))}" if left > 0 else "expired"
    session.out.say(
        f"published {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(published))} by {by}, {expires}", "dim"
    )
    spec = view.get("spec")
    asked = {k: v for k, v in spec.items() if v != {} and k != "canary"} if isinstance(spec, dict) else {}
    session.out.say(f"asked for {json.dumps(asked, ensure_ascii=False)}", "dim")
