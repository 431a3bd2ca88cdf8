"""Tree search over action chunks: simulate -> expand -> back up, for a batch of trees at once. Pure NumPy.

Nothing here knows a robot or a policy: an `Expand` function says what becomes of actions tried in states. A node is a
state with `K` candidate actions and a prior over them. Only an end is worth anything (1 solved, 0 not), so the return
of an edge that takes `t` control steps is that of its child, discounted by the real steps:

    G(s, a) = gamma^t G(s'),       W(s, a) += G(s, a),  N(s, a) += 1        along the path of a simulation
    a* = argmax_a  W / N + c P(a | s) sqrt(N(s)) / (1 + N(s, a))            (PUCT; VLAPS, arXiv:2508.12211)

Departures from the public VLAPS code, whose faults are listed in docs/algorithms/search.md: a prior is stored at the
index of its own candidate; a child never tried counts with its parent's value where VLAPS tries every child first; at
the depth limit the value is backed up, not zero; the tree below the executed chunk is kept (`Tree.keep`); several
simulations are under way at once, each a loss until it is backed up (virtual loss, Chaslot et al. 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from hone.errors import HoneError

ROOT = 0
NO_PARENT = -1
UNTRIED, UNDER_WAY = -1, -2
"""Of an edge without a child: nobody went there; a simulation is on its way there."""


@dataclass(frozen=True)
class Nodes:
    """`n` states. `states` are opaque here. `prior [n, K]` sums to one. `value [n]`: what a state is worth, in [0, 1];
    of an end 1 or 0. `finish [n]`: control steps from here to a success that was simulated; infinite where none was."""

    states: Sequence[Any]
    prior: Float64[np.ndarray, "n K"]
    value: Float64[np.ndarray, " n"]
    finish: Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Outcome:
    """What became of `n` actions: control steps taken, whether the episode ended there, and the states reached."""

    steps: Int64[np.ndarray, " n"]
    ended: Bool[np.ndarray, " n"]
    nodes: Nodes


Expand = Callable[[Int64[np.ndarray, " n"], Sequence[Any], Int64[np.ndarray, " n"]], Outcome]
"""(rows of the batch, states, actions) to what became of them."""

Score = Callable[
    [Float64[np.ndarray, "n K"], Float64[np.ndarray, "n K"], Float64[np.ndarray, "n K"], Float64[np.ndarray, " n"]],
    Float64[np.ndarray, "n K"],
]
"""(mean return, prior, visits of each action; visits of the node) to what an action promises."""


def puct(exploration: float) -> Score:
    """`Q + c P sqrt(N) / (1 + n)`; `c` is `exploration`."""

    def score(mean: np.ndarray, prior: np.ndarray, visits: np.ndarray, total: np.ndarray) -> np.ndarray:
        return mean + exploration * prior * np.sqrt(np.maximum(total, 1.0))[:, None] / (1.0 + visits)

    return score


@dataclass(frozen=True)
class MctsConfig:
    """How trees are grown."""

    simulations: int = 64
    """New simulations per decision."""
    wave: int = 4
    """Simulations of one tree that are under way at once."""
    exploration: float = 0.1
    """PUCT's constant. VLAPS has 1.4, but means are equal there until something succeeds, and any constant is the same;
    those of a value differ by a few hundredths."""
    discount: float = 0.995
    """Per control step."""
    max_depth: int = 40
    """Chunks below the root; what is deeper is not expanded, and its value is backed up."""

    def __post_init__(self) -> None:
        if self.simulations < 0 or self.exploration < 0:
            raise HoneError(
                f"simulations {self.simulations} and exploration {self.exploration} of a search must not be negative."
            )
        if self.wave < 1 or self.max_depth < 1:
            raise HoneError(f"wave {self.wave} and max_depth {self.max_depth} of a search must be at least 1.")
        if not 0 < self.discount <= 1:
            raise HoneError(f"discount {self.discount} of a search must be in (0, 1].")


class Tree:
    """`B` trees of up to `capacity` nodes with `K` actions each; arrays are `[B, capacity]` and `[B, capacity, K]`.

    A child's index is higher than its parent's. `in_flight` counts simulations that are under way through an edge.
    """

    def __init__(self, batch: int, num_actions: int, capacity: int = 64) -> None:
        self.batch, self.num_actions, self.capacity = batch, num_actions, capacity
        self.size = np.zeros(batch, np.int64)
        self.states: list[list[Any]] = [[] for _ in range(batch)]
        self.parent = np.full((batch, capacity), NO_PARENT)
        self.via = np.zeros((batch, capacity), np.int64)
        self.steps = np.zeros((batch, capacity), np.int64)
        self.depth = np.zeros((batch, capacity), np.int64)
        self.ended = np.zeros((batch, capacity), bool)
        self.value = np.zeros((batch, capacity))
        self.finish = np.full((batch, capacity), np.inf)
        self.children = np.full((batch, capacity, num_actions), UNTRIED)
        self.prior = np.zeros((batch, capacity, num_actions))
        self.visits = np.zeros((batch, capacity, num_actions), np.int64)
        self.returns = np.zeros((batch, capacity, num_actions))
        self.in_flight = np.zeros((batch, capacity, num_actions), np.int64)

    def plant(self, rows: Int64[np.ndarray, " n"], nodes: Nodes) -> None:
        """New trees in these rows: a root each, and nothing tried yet."""
        for i, row in enumerate(rows):
            self.size[row], self.states[row] = 0, []
            self._add(int(row), nodes, i, NO_PARENT, 0, 0, False)

    def add(self, row: int, outcome: Outcome, i: int, parent: int, action: int) -> int:
        """State `i` of the outcome as a child; returns its index."""
        steps, ended = int(outcome.steps[i]), bool(outcome.ended[i])
        return self._add(row, outcome.nodes, i, parent, action, steps, ended)

    def _add(self, row: int, nodes: Nodes, i: int, parent: int, action: int, steps: int, ended: bool) -> int:
        if self.size[row] == self.capacity:
            self._grow()
        node = int(self.size[row])
        self.size[row] += 1
        self.states[row].append(nodes.states[i])
        self.parent[row, node], self.via[row, node], self.steps[row, node] = parent, action, steps
        self.depth[row, node] = 0 if parent == NO_PARENT else self.depth[row, parent] + 1
        self.ended[row, node] = ended
        self.value[row, node], self.finish[row, node] = nodes.value[i], nodes.finish[i]
        self.children[row, node], self.prior[row, node] = UNTRIED, nodes.prior[i]
        self.visits[row, node] = self.in_flight[row, node] = 0
        self.returns[row, node] = 0.0
        if parent != NO_PARENT:
            self.children[row, parent, action] = node
        return node

    def keep(self, row: int, action: int) -> bool:
        """Make the root's child the root, with all that is below it; false (and nothing done) if it was never tried."""
        root = int(self.children[row, ROOT, action])
        if root < 0:
            return False
        kept = np.zeros(self.size[row], bool)
        kept[root] = True
        for node in range(root + 1, len(kept)):
            kept[node] = kept[self.parent[row, node]]
        old = np.flatnonzero(kept)
        new = np.full(len(kept) + 2, UNTRIED)  # the two last entries: what UNTRIED and UNDER_WAY point to
        new[old] = np.arange(len(old))
        for array in self._arrays():
            array[row, : len(old)] = array[row, old]
        self.states[row] = [self.states[row][node] for node in old]
        self.size[row] = len(old)
        here = slice(0, len(old))
        self.children[row, here] = new[self.children[row, here]]
        self.parent[row, here] = new[self.parent[row, here]]
        self.depth[row, here] -= self.depth[row, ROOT]
        self.parent[row, ROOT], self.steps[row, ROOT] = NO_PARENT, 0
        return True

    def mean(self, rows: Int64[np.ndarray, " n"], nodes: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "n K"]:
        """Mean return of each action: one under way counts as a loss, one never tried as its node's value."""
        visits = self.visits[rows, nodes] + self.in_flight[rows, nodes]
        own = np.broadcast_to(self.value[rows, nodes][:, None], visits.shape)
        return np.where(visits > 0, self.returns[rows, nodes] / np.maximum(visits, 1), own)

    def solution(self, row: int) -> tuple[int, float]:
        """The node of the quickest success found and the control steps from the root to its end; (-1, inf) if none."""
        best, quickest = -1, np.inf
        for node in np.flatnonzero(np.isfinite(self.finish[row, : self.size[row]])):
            total = self.finish[row, node] + sum(self.steps[row, n] for n, _ in self.path(row, int(node)))
            if total < quickest:
                best, quickest = int(node), float(total)
        return best, quickest

    def path(self, row: int, node: int) -> list[tuple[int, int]]:
        """From the root's child down to `node`: each node on the way and the action that leads to it."""
        line = []
        while node != ROOT:
            line.append((node, int(self.via[row, node])))
            node = int(self.parent[row, node])
        return line[::-1]

    def best_action(self, row: int) -> int:
        """At the root: most visits; of those the highest mean return; of those the first (the policy's own chunk)."""
        visits = self.visits[row, ROOT]
        mean = self.mean(np.array([row]), np.array([ROOT]))[0]
        return int(np.lexsort((np.arange(self.num_actions), -mean, -visits))[0])

    def _arrays(self) -> list[np.ndarray]:
        return [getattr(self, name) for name in _ARRAYS]

    def _grow(self) -> None:
        for name in _ARRAYS:
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)], axis=1))
        self.capacity *= 2


_ARRAYS = (
    *("parent", "via", "steps", "depth", "ended", "value", "finish"),
    *("children", "prior", "visits", "returns", "in_flight"),
)


@dataclass(frozen=True)
class Leaves:
    """Where `n` simulations arrived: an edge each, and its child, `UNTRIED` where there is none yet."""

    rows: Int64[np.ndarray, " n"]
    nodes: Int64[np.ndarray, " n"]
    actions: Int64[np.ndarray, " n"]
    children: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.rows)


def search(
    tree: Tree,
    rows: Sequence[int],
    expand_fn: Expand,
    config: MctsConfig,
    *,
    may_go_on: Callable[[int], bool] = lambda row: True,
) -> Int64[np.ndarray, " B"]:
    """Grow the trees of `rows` by `config.simulations` each; returns how many each row got.

    A tree stops early once a success was simulated in it, and when `may_go_on(row)` says no (its budget is spent).
    """
    done = np.zeros(tree.batch, np.int64)
    score = puct(config.exploration)
    while True:
        left = {
            row: min(config.wave, config.simulations - int(done[row]))
            for row in rows
            if done[row] < config.simulations and not np.isfinite(tree.finish[row, : tree.size[row]]).any()
        }
        left = {row: count for row, count in left.items() if may_go_on(row)}
        if not left:
            return done
        leaves = simulate(tree, left, score, config.max_depth)
        leaves = expand(tree, leaves, expand_fn)
        back_up(tree, leaves, config.discount)
        np.add.at(done, leaves.rows, 1)


def simulate(tree: Tree, counts: dict[int, int], score: Score, max_depth: int) -> Leaves:
    """Descend `counts[row]` times in each row, one after the other, to an edge without a child, to an end, or to the
    depth limit. A descent that follows another to the same untried edge is dropped, so rows may get fewer leaves."""
    found: list[np.ndarray] = []
    for turn in range(max(counts.values())):
        rows = np.array([row for row, count in counts.items() if count > turn])
        nodes = np.full(len(rows), ROOT)
        while len(rows):
            visits = tree.visits[rows, nodes] + tree.in_flight[rows, nodes]
            promise = score(tree.mean(rows, nodes), tree.prior[rows, nodes], visits * 1.0, visits.sum(1) * 1.0)
            actions = promise.argmax(1)
            tree.in_flight[rows, nodes, actions] += 1
            children = tree.children[rows, nodes, actions]
            inner = np.maximum(children, ROOT)
            on = (children >= 0) & ~tree.ended[rows, inner] & (tree.depth[rows, inner] < max_depth)
            stopped = ~on
            for row, node, action in zip(rows[stopped], nodes[stopped], actions[stopped], strict=True):
                child = tree.children[row, node, action]
                if child == UNDER_WAY:
                    _call_back(tree, int(row), int(node), int(action))
                    continue
                if child == UNTRIED:
                    tree.children[row, node, action] = UNDER_WAY
                found.append(np.array([row, node, action, child]))
            rows, nodes = rows[on], children[on]
    return Leaves(*np.stack(found, 1))


def expand(tree: Tree, leaves: Leaves, expand_fn: Expand) -> Leaves:
    """Try every untried edge, all together, and give each its child."""
    new = np.flatnonzero(leaves.children == UNTRIED)
    if not len(new):
        return leaves
    rows, nodes, actions = leaves.rows[new], leaves.nodes[new], leaves.actions[new]
    states = [tree.states[row][node] for row, node in zip(rows, nodes, strict=True)]
    outcome = expand_fn(rows, states, actions)
    assert outcome.nodes.prior.shape == (len(new), tree.num_actions), outcome.nodes.prior.shape
    children = leaves.children.copy()
    for i, leaf in enumerate(new):
        children[leaf] = tree.add(int(rows[i]), outcome, i, int(nodes[i]), int(actions[i]))
    return Leaves(leaves.rows, leaves.nodes, leaves.actions, children)


def back_up(tree: Tree, leaves: Leaves, discount: float) -> None:
    """Carry each leaf's value to the root, discounted by the control steps of every edge on the way."""
    rows, nodes, actions, children = leaves.rows, leaves.nodes, leaves.actions, leaves.children
    returns = tree.value[rows, children]
    while len(rows):
        returns = returns * discount ** tree.steps[rows, children]
        np.add.at(tree.returns, (rows, nodes, actions), returns)
        np.add.at(tree.visits, (rows, nodes, actions), 1)
        np.add.at(tree.in_flight, (rows, nodes, actions), -1)
        on = nodes != ROOT
        rows, children, returns = rows[on], nodes[on], returns[on]
        nodes, actions = tree.parent[rows, children], tree.via[rows, children]


def _call_back(tree: Tree, row: int, node: int, action: int) -> None:
    """Undo the virtual losses of a descent that is dropped."""
    while node != NO_PARENT:
        tree.in_flight[row, node, action] -= 1
        node, action = int(tree.parent[row, node]), int(tree.via[row, node])
