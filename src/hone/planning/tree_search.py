"""Search before acting: trees of chunks grown in copies of the simulator, one tree for each real episode.

At a decision the real slot is snapshotted and never touched; copies are put into that state, tried, and put back. Three
kinds of leaf, by `rollout_share` (lambda):

    value of a leaf = lambda gamma^T [the policy succeeds from there after T steps] + (1 - lambda) V(leaf)

1 is VLAPS (arXiv:2508.12211: roll the policy out), 0 needs no rollout and is the value of V-VLAPS (arXiv:2601.00969).
A success that was simulated, at a node or in a leaf's rollout, ends the search, and the chunks that led to it are
executed one after the other. Otherwise the most visited chunk is executed, and the tree below it is kept.

Since a search ends at its first success, all rollouts in a tree have failed, and rollouts alone tell no child from
another: VLAPS searches by its prior. A value tells two things that rollouts do not. Where to branch: the states of a
rollout are kept, become nodes at no further cost, and are valued. And when a rollout has failed (`give_up`), which
leaves more steps for others. The public VLAPS code does neither.

The copies are a perfect simulator and see success: this is an oracle, and results say so (`HONESTY`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from hone.envs.base import Environment
from hone.errors import HoneError
from hone.planning.candidates import CandidateConfig, exploring, propose
from hone.planning.macros import MacroLibrary, primitives_alone
from hone.planning.mcts import ROOT, MctsConfig, Nodes, Outcome, Tree, search
from hone.planning.pictures import tree_picture_data
from hone.policies.base import Candidate, Features, Policy
from hone.seeding import torch_generator
from hone.training.rollout import EpisodeRequest, Foreseen
from hone.training.workers import Builder
from hone.types import Observation

HONESTY = "tries chunks in a copy of the simulator and sees there whether they succeed"
"""Goes onto the protocol card of every result that a search had a part in."""


@runtime_checkable
class Value(Protocol):
    """How good states are, in [0, 1]: `hone.planning.value.ValueHead`, or a control."""

    def of(self, features: Features, observation: Observation) -> Float32[np.ndarray, " n"]: ...


@dataclass(frozen=True)
class SearchConfig:
    """A search before every decision."""

    mcts: MctsConfig = field(default_factory=MctsConfig)
    """How trees grow."""
    candidates: CandidateConfig = field(default_factory=CandidateConfig)
    """Which chunks are tried in a state."""
    rollout_share: float = 0.5
    """`lambda`: 1 rolls the policy out from every leaf (VLAPS), 0 asks the value alone, between them both."""
    rollout_steps: int = 300
    """Control steps of a rollout at most; what is left then is worth the value there, or nothing without one."""
    rollout_noise: float = 0.0
    """Exploration scale of rollouts; 0 follows the policy's mode."""
    give_up: float = 0.5
    """A rollout ends where the value has fallen below this share of the best on its way; without a value, never."""
    step_budget: int | None = None
    """Control steps that may be simulated for one real episode; then the policy goes on alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.rollout_share <= 1:
            raise HoneError(f"rollout_share is {self.rollout_share}; it must be between 0 (value) and 1 (rollouts).")
        if not 0 <= self.give_up <= 1:
            raise HoneError(f"give_up is {self.give_up}; it must be between 0 (never) and 1 (at the first fall).")
        if self.rollout_steps < 1 or self.rollout_noise < 0:
            raise HoneError(
                f"rollout_steps {self.rollout_steps} must be at least 1, rollout_noise {self.rollout_noise} not "
                "negative."
            )
        if self.step_budget is not None and self.step_budget < 0:
            raise HoneError(f"step_budget is {self.step_budget}; it must not be negative.")


@dataclass(frozen=True)
class SearchPlanning:
    """All that a worker needs to search. `copies` is how the simulator's copies are built: as the real environment, or
    wrongly (`faithful` false), to see what a model's errors cost. `keep_targets`: keep what the search found at each
    decision, to teach it. `oracle`: a control in which a leaf's value is what a rollout from it would return, and the
    rollout is neither counted nor followed."""

    config: SearchConfig
    copies: Builder
    value: Value | None = None
    library: MacroLibrary | None = None
    faithful: bool = True
    keep_targets: bool = False
    oracle: bool = False

    def build(self, policy: Policy, num_slots: int) -> TreeSearch:
        return TreeSearch(self, policy, num_slots)


@dataclass(frozen=True)
class Target:
    """What a search found at one decision: the candidates, how they were visited (summing to one), the chunk's."""

    chunks: Float32[np.ndarray, "K H 7"]
    visits: Float64[np.ndarray, " K"]


@dataclass(frozen=True)
class Reached:
    """Where a chunk led in a copy: control steps taken, whether the episode ended there and was solved, and what the
    value says (0 without one). Of an end there is no more; of other states, one row of what a node is made of."""

    steps: int
    ended: bool
    solved: bool
    value: float = 0.0
    snapshot: Any = None
    features: Features | None = None


@dataclass(frozen=True)
class Rollout:
    """What came of following the policy from a leaf: the return, control steps to success (infinite: none) and the
    chunks that lead there, and, where the policy's mode was followed, the states on the way."""

    outlook: float = 0.0
    finish: float = np.inf
    tail: tuple[Candidate, ...] = ()
    ahead: tuple[Reached, ...] = ()


@dataclass(frozen=True)
class State:
    """What a node keeps: the simulator's state, the candidates there, and what its rollout did.

    What the policy's own chunks lead to from here, as far as a rollout followed them, is in `rollout.ahead`: the child
    by the own chunk is made of that, and nothing is simulated twice.
    """

    snapshot: Any
    chunks: Float32[np.ndarray, "K H 7"]
    samples: Tensor
    rollout: Rollout = field(default_factory=Rollout)

    def candidate(self, action: int) -> Candidate:
        """One row. The sample of a chunk that the policy did not draw is NaN: it has no likelihood."""
        unknown = torch.full_like(self.samples[:1], torch.nan)
        sample = self.samples[action : action + 1] if action < len(self.samples) else unknown
        return Candidate(torch.from_numpy(self.chunks[action : action + 1]), sample)


@dataclass
class _Episode:
    """The search of one real episode so far. `line`: chunks of a solution that are still to be executed."""

    seed: int
    line: deque[Candidate] = field(default_factory=deque)
    rooted: bool = False
    steps: int = 0
    simulations: int = 0
    nodes: int = 0
    solved_at: int | None = None
    spreads: list[float] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    tree: dict[str, Any] | None = None


class TreeSearch:
    """The `Lookahead` of `SearchPlanning`: row `i` of its trees is slot `i` of the real environment."""

    def __init__(self, planning: SearchPlanning, policy: Policy, num_slots: int) -> None:
        config = planning.config
        if planning.value is None and config.rollout_share < 1 and not planning.oracle:
            raise HoneError(
                "a search with rollout_share below 1 needs a value; train one with `hone value`, or use 1 (VLAPS)."
            )
        if policy.initial_state(1) is not None:
            raise HoneError("a search tries chunks in any order, so it needs a policy without memory of its own.")
        self._planning, self._config, self._policy = planning, config, policy
        self._library = planning.library or primitives_alone(policy.chunk_length)
        self._wave = config.mcts.wave
        self._copies: Environment = planning.copies.build(num_slots * self._wave)
        self._tree = Tree(num_slots, config.candidates.count)
        self._episodes: dict[int, _Episode] = {}
        self._instructions: dict[int, str | None] = {}
        self._alive: Callable[[], None] = lambda: None

    def decide(
        self,
        env: Environment,
        slots: Sequence[int],
        requests: Sequence[EpisodeRequest],
        observation: Observation,
        features: Features,
        own: Candidate,
        alive: Callable[[], None],
    ) -> Candidate:
        self._alive = alive
        for slot, request in zip(slots, requests, strict=True):
            self._episodes.setdefault(slot, _Episode(request.seed))
            self._instructions[slot] = request.instruction
        searching = [slot for slot in slots if self._wants_to_search(slot)]
        fresh = [slot for slot in searching if not self._episodes[slot].rooted]
        if fresh:
            rows = np.array([list(slots).index(slot) for slot in fresh])
            here = torch.from_numpy(rows)
            self._plant(fresh, env.snapshot(fresh), observation.rows(rows), features[here], own[here])
        if searching:
            done = search(self._tree, searching, self._try, self._config.mcts, may_go_on=self._may_go_on)
            for slot in searching:
                self._episodes[slot].simulations += int(done[slot])
        chosen = [
            self._chosen(slot, slot in searching, own[row : row + 1])  # a slice keeps the row's axis
            for row, slot in enumerate(slots)
        ]
        return Candidate.cat(chosen)

    def finish(self, slot: int) -> Foreseen:
        episode = self._episodes.pop(slot, _Episode(0))
        self._tree.plant(np.array([slot]), _nothing(self._config.candidates.count))  # lets go of its snapshots
        report = {
            "simulator_steps": episode.steps,
            "simulations": episode.simulations,
            "most_nodes": episode.nodes,
            "solved_at_decision": episode.solved_at,
            "root_value_spread": episode.spreads,
            "depths": episode.depths,
            "tree": episode.tree,
        }
        return Foreseen({"search": report}, tuple(episode.targets))

    def close(self) -> None:
        self._copies.close()

    # ---------------------------------------------------------------------------------------------- the real decision

    def _wants_to_search(self, slot: int) -> bool:
        alternatives = self._config.candidates.count > 1 and self._config.mcts.simulations > 0
        return alternatives and not self._episodes[slot].line and self._may_go_on(slot)

    def _may_go_on(self, slot: int) -> bool:
        budget = self._config.step_budget
        return budget is None or self._episodes[slot].steps < budget

    def _plant(
        self,
        slots: Sequence[int],
        snapshots: Sequence[Any],
        observation: Observation,
        features: Features,
        own: Candidate,
    ) -> None:
        generators = [torch_generator(self._episodes[s].seed, "root", self._episodes[s].simulations) for s in slots]
        known = propose(
            self._policy, features, (own.chunk, own.sample), self._config.candidates, self._library, generators
        )
        states = [State(snapshot, known.chunks[i], known.samples[i]) for i, snapshot in enumerate(snapshots)]
        value, share = self._planning.value, 1 - self._config.rollout_share
        worth = np.zeros(len(slots)) if value is None else share * value.of(features, observation).astype(np.float64)
        self._tree.plant(np.array(slots), Nodes(states, known.prior, worth, np.full(len(slots), np.inf)))

    def _chosen(self, slot: int, searched: bool, own: Candidate) -> Candidate:
        episode, tree = self._episodes[slot], self._tree
        if episode.line:
            return self._told(episode, episode.line.popleft())
        if not searched and not (episode.rooted and tree.visits[slot, ROOT].any()):
            episode.rooted = False
            return self._told(episode, own)
        action = tree.best_action(slot)
        node, _ = tree.solution(slot)
        line = [] if node < 0 else tree.path(slot, node)
        self._note(slot, line)
        if node >= 0:
            episode.solved_at = len(episode.spreads) - 1
            parents = [ROOT, *[n for n, _ in line[:-1]]]
            chunks = [tree.states[slot][p].candidate(a) for p, (_, a) in zip(parents, line, strict=True)]
            reached: State | None = tree.states[slot][node]  # None at an end
            episode.line.extend([*chunks, *(() if reached is None else reached.rollout.tail)])
            episode.rooted = False
            return episode.line.popleft()
        chosen = tree.states[slot][ROOT].candidate(action)
        episode.rooted = self._planning.faithful and tree.keep(slot, action) and not tree.ended[slot, ROOT]
        return chosen

    def _told(self, episode: _Episode, chosen: Candidate) -> Candidate:
        if self._planning.keep_targets:
            episode.targets.append(Target(chosen.chunk.numpy().astype(np.float32), np.ones(1)))
        return chosen

    def _note(self, slot: int, line: Sequence[tuple[int, int]]) -> None:
        """What the report will say of this decision."""
        episode, tree = self._episodes[slot], self._tree
        visits = tree.visits[slot, ROOT]
        mean = tree.mean(np.array([slot]), np.array([ROOT]))[0][visits > 0]
        episode.spreads.append(float(mean.max() - mean.min()) if len(mean) else 0.0)
        size = int(tree.size[slot])
        episode.depths.append(int(tree.depth[slot, :size].max()))
        episode.nodes = max(episode.nodes, size)
        if episode.tree is None:
            episode.tree = tree_picture_data(tree, slot, line)
        if self._planning.keep_targets:
            first = line[0][1] if line else None
            share = np.eye(len(visits))[first] if first is not None else visits / max(visits.sum(), 1)
            episode.targets.append(Target(tree.states[slot][ROOT].chunks, share.astype(np.float64)))

    # ------------------------------------------------------------------------------------------------ in the copies

    def _try(self, rows: np.ndarray, states: Sequence[State], actions: np.ndarray) -> Outcome:
        """`Expand` of the search: what each chunk leads to, simulated unless a rollout came that way before."""
        self._alive()
        config, slots = self._config, self._copy_slots(rows)
        reached: list[Reached | None] = [
            state.rollout.ahead[0] if action == 0 and state.rollout.ahead else None
            for state, action in zip(states, actions, strict=True)
        ]
        fresh = [i for i, known in enumerate(reached) if known is None]
        if fresh:
            self._copies.restore([slots[i] for i in fresh], [states[i].snapshot for i in fresh])
            chunks = np.stack([states[i].chunks[actions[i]] for i in fresh])
            for i, found in zip(fresh, self._advance(rows[fresh], [slots[i] for i in fresh], chunks), strict=True):
                reached[i] = found
        every = [found for found in reached if found is not None]
        going = [i for i, found in enumerate(every) if not found.ended]
        generators = {i: self._generator(int(rows[i]), slots[i] % self._wave) for i in going}
        rolled = {i: self._followed(states[i].rollout) for i in going if i not in fresh}
        unknown = [i for i in going if i in fresh]
        if unknown and (config.rollout_share > 0 or self._planning.oracle):
            starts = [every[i] for i in unknown]
            found = self._roll_out(rows[unknown], [slots[i] for i in unknown], starts, [generators[i] for i in unknown])
            rolled.update(zip(unknown, found, strict=True))
        nodes: list[State | None] = [None] * len(rows)
        prior = np.full((len(rows), config.candidates.count), 1 / config.candidates.count)
        value = np.array([float(found.solved) for found in every])
        finish = np.where(value > 0, 0.0, np.inf)
        if going:
            features = Features.cat([_looked(every[i]) for i in going])
            noise = [generators[i] for i in going]
            known = propose(self._policy, features, None, config.candidates, self._library, noise)
            prior[going] = known.prior
            for k, i in enumerate(going):
                after = rolled.get(i, Rollout())
                value[i], finish[i] = self._worth(every[i], after), after.finish
                nodes[i] = State(every[i].snapshot, known.chunks[k], known.samples[k], after)
        steps = np.array([found.steps for found in every], np.int64)
        return Outcome(steps, np.array([found.ended for found in every]), Nodes(nodes, prior, value, finish))

    def _worth(self, reached: Reached, after: Rollout) -> float:
        if self._planning.oracle:
            return after.outlook
        share = self._config.rollout_share
        return share * after.outlook + (1 - share) * reached.value

    def _followed(self, before: Rollout) -> Rollout:
        """Of a rollout, what is left after its first chunk."""
        outlook = before.outlook / self._config.mcts.discount ** before.ahead[0].steps
        return Rollout(outlook=outlook, ahead=before.ahead[1:])

    def _roll_out(
        self,
        rows: np.ndarray,
        slots: Sequence[int],
        starts: Sequence[Reached],
        generators: Sequence[torch.Generator],
    ) -> list[Rollout]:
        """The policy goes on from here until an end, the limit, the end of the budget, or until the value has fallen
        below `give_up` of the best on the way."""
        spent = {int(row): self._episodes[int(row)].steps for row in rows}
        config, discount, noise = self._config, self._config.mcts.discount, self._config.rollout_noise
        returns, finish = np.zeros(len(starts)), np.full(len(starts), np.inf)
        taken, best = np.zeros(len(starts), np.int64), np.array([start.value for start in starts])
        here, tails, passed = list(starts), [[] for _ in starts], [[] for _ in starts]
        going = list(range(len(starts)))
        while going:
            self._alive()
            with exploring(self._policy, noise or 1.0):
                features = Features.cat([_looked(here[i]) for i in going])
                drawn, _ = self._policy.propose(features, None, 1, [generators[i] for i in going] if noise else None)
            chosen = drawn.select(torch.zeros(len(going), dtype=torch.long))
            chunks = chosen.chunk.numpy().astype(np.float32)
            found = self._advance(rows[going], [slots[i] for i in going], chunks, keep=not noise)
            on = []
            for k, i in enumerate(going):
                here[i], taken[i] = found[k], taken[i] + found[k].steps
                tails[i].append(chosen[k : k + 1])
                passed[i].append(found[k])
                if found[k].solved:
                    returns[i], finish[i] = discount ** int(taken[i]), taken[i]
                elif not found[k].ended:
                    returns[i] = discount ** int(taken[i]) * found[k].value
                    hope = found[k].value >= config.give_up * best[i]
                    if hope and taken[i] < config.rollout_steps and self._may_go_on(int(rows[i])):
                        on.append(i)
                    best[i] = max(best[i], found[k].value)
            going = on
        if self._planning.oracle:  # neither counted nor followed
            for row, steps in spent.items():
                self._episodes[row].steps = steps
            return [Rollout(float(worth)) for worth in returns]
        return [
            Rollout(
                float(returns[i]),
                float(finish[i]),
                tuple(tails[i]) if np.isfinite(finish[i]) else (),
                () if noise else tuple(passed[i]),
            )
            for i in range(len(starts))
        ]

    def _advance(
        self, rows: np.ndarray, slots: Sequence[int], chunks: Float32[np.ndarray, "n H 7"], keep: bool = True
    ) -> list[Reached]:
        """Execute chunks in these copies, and look at what is not over. Snapshots are taken only to `keep` them."""
        result = self._copies.step(slots, chunks, stop_at_success=True)
        for row, count in zip(rows, result.steps, strict=True):
            self._episodes[int(row)].steps += int(count)
        reached = [
            Reached(int(steps), bool(done), bool(solved))
            for steps, done, solved in zip(result.steps, result.done, result.terminated, strict=True)
        ]
        going = [i for i, found in enumerate(reached) if not found.ended]
        if going:
            here = [slots[i] for i in going]
            features, observation = self._look(here, rows[going])
            valued = self._planning.value
            values = np.zeros(len(going)) if valued is None else valued.of(features, observation)
            snapshots = self._copies.snapshot(here) if keep else [None] * len(here)
            for k, (i, snapshot) in enumerate(zip(going, snapshots, strict=True)):
                one = features[k : k + 1]
                reached[i] = replace(reached[i], value=float(values[k]), snapshot=snapshot, features=one)
        return reached

    @torch.no_grad()
    def _look(self, slots: Sequence[int], rows: np.ndarray) -> tuple[Features, Observation]:
        observation = self._copies.observe(slots)
        told = [self._instructions[int(row)] for row in rows]
        words = tuple(own if said is None else said for own, said in zip(observation.instructions, told, strict=True))
        observation = replace(observation, instructions=words)
        return self._policy.encode(observation), observation

    def _copy_slots(self, rows: np.ndarray) -> list[int]:
        """Row `r` has the copies `r * wave` to `(r + 1) * wave - 1`, so that they seldom change their scene."""
        used: dict[int, int] = {}
        slots = []
        for row in map(int, rows):
            slots.append(row * self._wave + used.get(row, 0))
            used[row] = used.get(row, 0) + 1
        return slots

    def _generator(self, row: int, turn: int) -> torch.Generator:
        """For the `turn`-th leaf of a row's wave; it does not depend on what else is in the batch."""
        episode = self._episodes[row]
        return torch_generator(episode.seed, "node", episode.simulations, int(self._tree.size[row]), turn)


def _looked(reached: Reached) -> Features:
    assert reached.features is not None, "an end has no features"
    return reached.features


def _nothing(actions: int) -> Nodes:
    return Nodes([None], np.full((1, actions), 1 / actions), np.zeros(1), np.full(1, np.inf))
