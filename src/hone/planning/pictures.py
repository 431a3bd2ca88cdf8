"""A tree as plain data, for a report: who was visited, what it was worth, which line was taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hone.planning.mcts import ROOT, Tree

MOST_NODES = 150
"""Nodes of a picture at most: the most visited."""


def tree_picture_data(tree: Tree, row: int, line: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Nodes in the order of their index: `parent` (an index into this list), `action`, `visits`, `value` (its own),
    `mean` (of the edge that leads to it), `ended`, `solved`, `line` (it is on the way taken)."""
    size = int(tree.size[row])
    taken = {node for node, _ in line}
    if not line and size > 1:
        taken = {int(tree.children[row, ROOT, tree.best_action(row)])}
    visits = np.zeros(size, np.int64)
    mean = tree.value[row, :size].copy()
    for node in range(1, size):
        parent, action = tree.parent[row, node], tree.via[row, node]
        visits[node] = tree.visits[row, parent, action]
        mean[node] = tree.returns[row, parent, action] / max(visits[node], 1)
    visits[ROOT] = tree.visits[row, ROOT].sum()
    order = sorted(range(1, size), key=lambda node: (node not in taken, -visits[node], node))[: MOST_NODES - 1]
    kept = {ROOT}
    for node in sorted(order):  # a parent has more visits than its child, but for ties
        if int(tree.parent[row, node]) in kept:
            kept.add(node)
    index = {node: i for i, node in enumerate(sorted(kept))}
    return {
        "size": size,
        "nodes": [
            {
                "parent": None if node == ROOT else index[int(tree.parent[row, node])],
                "action": int(tree.via[row, node]),
                "visits": int(visits[node]),
                "value": round(float(tree.value[row, node]), 4),
                "mean": round(float(mean[node]), 4),
                "ended": bool(tree.ended[row, node]),
                "solved": bool(np.isfinite(tree.finish[row, node])),
                "line": node in taken or node == ROOT,
            }
            for node in sorted(kept)
        ],
    }
