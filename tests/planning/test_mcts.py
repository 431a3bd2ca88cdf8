"""Tree search on small worlds whose right answer is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hone.errors import HoneError
from hone.planning.mcts import ROOT, MctsConfig, Nodes, Outcome, Tree, back_up, expand, puct, search, simulate

GAMMA = 0.9


def nodes(states, priors=None, values=None, finish=None, actions: int = 2) -> Nodes:
    n = len(states)
    return Nodes(
        list(states),
        np.full((n, actions), 1 / actions) if priors is None else np.array(priors, float),
        np.zeros(n) if values is None else np.array(values, float),
        np.full(n, np.inf) if finish is None else np.array(finish, float),
    )


class Lock:
    """A word to spell, letter by letter: `steps` control steps a letter; only the whole word is worth anything."""

    def __init__(self, words: list[str], steps: int = 2, values=lambda row, spelt: 0.0, finish: bool = True) -> None:
        self.words, self.steps, self.values, self.finish = words, steps, values, finish
        self.tried: list[tuple[int, str]] = []
        self.batches: list[int] = []

    def root(self) -> Nodes:
        return nodes([""] * len(self.words), values=[self.values(r, "") for r in range(len(self.words))])

    def __call__(self, rows, states, actions) -> Outcome:
        spelt = [state + "ab"[action] for state, action in zip(states, actions, strict=True)]
        self.tried += list(zip(map(int, rows), spelt, strict=True))
        self.batches.append(len(rows))
        right = np.array([s == self.words[row] for s, row in zip(spelt, rows, strict=True)])
        over = np.array([len(s) >= len(self.words[row]) for s, row in zip(spelt, rows, strict=True)])
        value = [float(r) if o else self.values(row, s) for s, r, o, row in zip(spelt, right, over, rows, strict=True)]
        finish = np.where(right & self.finish, 0.0, np.inf)
        return Outcome(np.full(len(rows), self.steps), over, nodes(spelt, values=value, finish=finish))


def grown(world: Lock, rows=None, **settings) -> Tree:
    tree = Tree(len(world.words), 2, capacity=4)
    tree.plant(np.arange(len(world.words)), world.root())
    search(
        tree,
        range(len(world.words)) if rows is None else rows,
        world,
        MctsConfig(**{"discount": GAMMA, "exploration": 1.4, **settings}),
    )
    return tree


def test_three_phases_by_hand():
    """Two actions, one control step each; the second is preferred by the prior, the first turns out better."""
    tree = Tree(1, 2)
    tree.plant(np.array([0]), nodes(["root"], priors=[[0.4, 0.6]], values=[0.5]))
    values = {0: 0.8, 1: 0.2}

    def world(rows, states, actions) -> Outcome:
        return Outcome(np.array([3]), np.array([False]), nodes(["child"], values=[values[int(actions[0])]]))

    def once() -> int:
        leaves = simulate(tree, {0: 1}, puct(1.0), 10)
        assert tree.in_flight.sum() == 1
        back_up(tree, expand(tree, leaves, world), GAMMA)
        assert tree.in_flight.sum() == 0
        return int(leaves.actions[0])

    assert once() == 1  # 0.5 + 0.6 beats 0.5 + 0.4: an action never tried counts with its node's value
    assert tree.returns[0, ROOT, 1] == pytest.approx(0.2 * 0.9**3)
    # 0.5 + 0.4 * 1 beats 0.2 * 0.729 + 0.6 / 2
    assert once() == 0
    assert tree.returns[0, ROOT, 0] == pytest.approx(0.8 * 0.9**3)
    # Q + P sqrt(2) / 2: 0.583 + 0.283 against 0.146 + 0.424. The child is entered, at its own first action.
    leaves = simulate(tree, {0: 1}, puct(1.0), 10)
    assert (int(leaves.nodes[0]), int(leaves.actions[0])) == (2, 0)


def test_the_return_of_a_line_is_discounted_by_all_its_control_steps():
    tree = grown(Lock(["abb"], steps=4), simulations=60, wave=1)
    node, total = tree.solution(0)
    assert total == 12
    assert [action for _, action in tree.path(0, node)] == [0, 1, 1]
    line = [ROOT, *[n for n, _ in tree.path(0, node)]]
    for left, (parent, child) in zip((12, 8, 4), pairwise(line), strict=True):
        action = tree.via[0, child]
        gained = tree.returns[0, parent, action]
        assert gained == pytest.approx(0.9**left)  # the search stopped at its first success, so it was counted once


def test_what_is_worth_more_is_visited_more():
    tree = grown(Lock(["ab"], finish=False), simulations=100, wave=1, exploration=0.2)
    assert tree.best_action(0) == 0
    assert tree.visits[0, ROOT, 0] > 2 * tree.visits[0, ROOT, 1]
    assert tree.visits[0, ROOT].sum() == 100


def test_rows_do_not_depend_on_their_batch():
    """Each row's tree is the one it would be alone; the other rows differ in their world."""
    words = ["abba", "bbbb", "aaab"]
    together = grown(Lock(words, finish=False), simulations=40, wave=3)
    for row, word in enumerate(words):
        alone = grown(Lock([word], finish=False), simulations=40, wave=3)
        size = alone.size[0]
        assert size == together.size[row]
        for name in ("visits", "returns", "children", "parent", "value"):
            np.testing.assert_array_equal(getattr(together, name)[row, :size], getattr(alone, name)[0, :size])


def test_a_prior_belongs_to_its_own_candidate():
    """Whatever the order of the priors, the preferred action is the one tried first (public VLAPS pairs them in order
    of expansion)."""
    for favourite in range(4):
        prior = np.full((1, 4), 0.1)
        prior[0, favourite] = 0.7
        tree = Tree(1, 4)
        tree.plant(np.array([0]), nodes(["root"], prior, actions=4))
        counts = {0: 4}
        leaves = simulate(tree, counts, puct(1.0), 10)
        assert leaves.actions[0] == favourite
        assert sorted(leaves.actions) == sorted(set(leaves.actions))


def test_virtual_loss_fills_the_batch_with_different_leaves():
    world = Lock(["aaaaaaaa"] * 3)
    grown(world, simulations=32, wave=8)
    assert len(world.tried) == len(set(world.tried))  # nothing is simulated twice
    assert max(world.batches) >= 18  # of 24: full but for descents that met at the same edge


def test_one_candidate_is_a_line():
    tree = Tree(1, 1)
    tree.plant(np.array([0]), nodes(["root"], actions=1))

    def world(rows, states, actions) -> Outcome:
        n = len(rows)
        return Outcome(np.ones(n, np.int64), np.zeros(n, bool), nodes(["x"] * n, actions=1))

    search(tree, [0], world, MctsConfig(simulations=6, wave=4, exploration=1.4))
    assert tree.best_action(0) == 0
    assert list(tree.depth[0, : tree.size[0]]) == list(range(tree.size[0]))


def test_no_simulations_leave_the_first_candidate():
    world = Lock(["bb"])
    assert grown(world, simulations=0).best_action(0) == 0
    assert not world.tried


def test_at_the_depth_limit_the_value_is_backed_up():
    """With every state worth 0.5, a limit of one chunk gives 0.5 gamma^2 for each visit, also of repeated ones."""
    tree = grown(Lock(["aaaa"], values=lambda row, spelt: 0.5), simulations=10, wave=1, max_depth=1)
    assert tree.size[0] == 3
    assert tree.visits[0, ROOT].sum() == 10
    np.testing.assert_allclose(tree.returns[0, ROOT], tree.visits[0, ROOT] * 0.5 * 0.9**2)


def test_an_end_is_not_gone_beyond():
    tree = grown(Lock(["a"], finish=False), simulations=12, wave=1)
    assert tree.size[0] == 3
    assert tree.visits[0, ROOT].sum() == 12


def test_a_tree_that_was_kept_goes_on_as_it_was():
    world = Lock(["abab"], finish=False)
    tree = grown(world, simulations=50, wave=1)
    child = int(tree.children[0, ROOT, 0])
    below = {
        tree.states[0][n]: tree.returns[0, n].copy() for n in range(tree.size[0]) if tree.states[0][n].startswith("a")
    }
    visits = tree.visits[0, child].copy()
    assert tree.keep(0, 0)
    assert tree.states[0][ROOT] == "a"
    np.testing.assert_array_equal(tree.visits[0, ROOT], visits)
    assert {tree.states[0][n]: None for n in range(tree.size[0])}.keys() == below.keys()
    for node in range(tree.size[0]):
        np.testing.assert_array_equal(tree.returns[0, node], below[tree.states[0][node]])
        if node:
            parent, action = tree.parent[0, node], tree.via[0, node]
            assert tree.children[0, parent, action] == node
            assert tree.states[0][parent] + "ab"[action] == tree.states[0][node]
            assert tree.depth[0, node] == tree.depth[0, parent] + 1
    before = tree.visits[0, ROOT].sum()
    search(tree, [0], world, MctsConfig(simulations=7, wave=1))
    assert tree.visits[0, ROOT].sum() == before + 7


def test_a_chunk_that_was_never_tried_cannot_be_kept():
    tree = grown(Lock(["ab"]), simulations=0)
    assert not tree.keep(0, 1)
    assert tree.states[0] == [""]


def test_a_spent_budget_ends_the_search_of_its_row_alone():
    world = Lock(["aaaa", "bbbb"], finish=False)
    tree = Tree(2, 2)
    tree.plant(np.arange(2), world.root())
    done = search(tree, [0, 1], world, MctsConfig(simulations=20, wave=2), may_go_on=lambda row: row == 1)
    assert list(done) == [0, 20]


@pytest.mark.parametrize("wrong", [{"simulations": -1}, {"wave": 0}, {"discount": 1.5}, {"max_depth": 0}])
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(HoneError):
        MctsConfig(**wrong)
