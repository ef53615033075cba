"""Who is linked to whom, as far as peers tell: links that only one side has, and peers that all others hang on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meshinfer.model.ids import PeerId

Graph = dict[PeerId, set[PeerId]]


def graph_of(told: Mapping[PeerId, Iterable[PeerId]], members: frozenset[PeerId]) -> Graph:
    """The links among `members`. A link counts when one end tells of it and the other, where it was asked, does too."""
    links = {peer: frozenset(others) & members - {peer} for peer, others in told.items() if peer in members}
    graph: Graph = {peer: set() for peer in links}
    for peer, others in links.items():
        for other in others:
            if other not in links or peer in links[other]:
                graph.setdefault(peer, set()).add(other)
                graph.setdefault(other, set()).add(peer)
    return graph


def one_sided(told: Mapping[PeerId, Iterable[PeerId]]) -> list[tuple[PeerId, PeerId]]:
    """(who tells of a link, who was asked and does not)."""
    links = {peer: frozenset(others) for peer, others in told.items()}
    return sorted((a, b) for a, others in links.items() for b in others if b in links and a != b and a not in links[b])


def parts_without(graph: Graph, removed: PeerId) -> list[list[PeerId]]:
    """The connected parts that what hung together with `removed` falls into, each sorted, the largest first."""
    unseen = graph.keys() - {removed}
    parts = []
    while unseen:
        part, reached = [], [min(unseen)]
        unseen.discard(reached[0])
        while reached:
            peer = reached.pop()
            part.append(peer)
            near = graph[peer] & unseen
            unseen -= near
            reached += near
        if not graph[removed].isdisjoint(part):
            parts.append(sorted(part))
    return sorted(parts, key=lambda part: (-len(part), part))


def cut_peers(graph: Graph) -> list[PeerId]:
    """Peers whose loss would split those they connect (articulation points; Hopcroft and Tarjan 1973, in linear time).

    Without recursion: how deep the graph goes is for others to say.
    """
    order: dict[PeerId, int] = {}
    low: dict[PeerId, int] = {}
    cut: set[PeerId] = set()
    for root in sorted(graph):
        if root in order:
            continue
        order[root] = low[root] = len(order)
        path = [(root, iter(sorted(graph[root])))]
        branches = 0
        while path:
            peer, others = path[-1]
            for other in others:
                if other not in order:
                    order[other] = low[other] = len(order)
                    path.append((other, iter(sorted(graph[other]))))
                    break
                low[peer] = min(low[peer], order[other])
            else:
                path.pop()
                if not path:
                    continue
                parent = path[-1][0]
                low[parent] = min(low[parent], low[peer])
                if parent == root:
                    branches += 1
                elif low[peer] >= order[parent]:
                    cut.add(parent)
        if branches > 1:
            cut.add(root)
    return sorted(cut)
