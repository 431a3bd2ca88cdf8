"""Best of N: the verifier decides, ties go to the policy, and nothing real is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from toy_environment import TASKS, ToyConfig, forward_policy

from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.planning.candidates import CandidateConfig
from hone.planning.planners import ModelError, build_planning, label, settings
from hone.planning.tree_search import HONESTY, SearchConfig
from hone.planning.value import ValueConfig, ValueHead
from hone.planning.verification import BestOf, BestOfPlanning, ByConsistency, ByOutcome, ByValue, Choice
from hone.policies.small import SmallPolicyConfig
from hone.training.rollout import EpisodeRequest, rollout
from hone.types import Observation, Placement

PLANNING = BestOfPlanning("consistency", ToyConfig(), CandidateConfig(samples=1, library=14))


@dataclass
class Farthest:
    """Prefers what moves forward most, or with `sign` 0 has no preference."""

    sign: float = 1.0
    closed: bool = False
    asked: list[int] = field(default_factory=list)

    def score(self, choice: Choice, alive: Callable[[], None]) -> np.ndarray:
        self.asked.append(choice.chunks.shape[1])
        return self.sign * choice.chunks[..., 0].sum(-1).astype(np.float64)

    def finish(self, slot: int) -> int:
        return 0

    def close(self) -> None:
        self.closed = True


def run(verifier: Any):
    env, policy = ToyConfig().build(1), forward_policy(0.1)
    request = EpisodeRequest(0, TASKS[0], Placement("sampled", 0), seed=0, greedy=True)
    (found,) = rollout(env, policy, [request], lookahead=BestOf(PLANNING, policy, verifier))
    assert found.report is not None
    return found, found.report["search"]["chose_another"]


def test_the_best_is_executed_and_ties_are_the_policys():
    """0.1 a step never arrives; the library's 0.5 does in six steps."""
    found, changed = run(Farthest())
    assert found.success
    assert found.steps == 6
    assert changed == found.decisions == 2
    idle, changed = run(Farthest(sign=0.0))
    assert not idle.success
    assert changed == 0


def choice(chunks: np.ndarray, last: list[np.ndarray | None]) -> Choice:
    observation = Observation(np.zeros((len(chunks), 8), np.float32), ("go",) * len(chunks))
    features = forward_policy(0.1).encode(observation)
    return Choice(ToyConfig().build(1), list(range(len(chunks))), observation, features, chunks, last)


def test_consistency_prefers_the_smoother_seam():
    chunks = np.zeros((2, 3, 4, 7), np.float32)
    chunks[:, 1], chunks[:, 2] = 0.5, 1.0
    last = np.full((4, 7), 0.6, np.float32)
    scores = ByConsistency().score(choice(chunks, [last, None]), lambda: None)
    np.testing.assert_allclose(scores[0], [-0.6, -0.1, -0.4], atol=1e-6)
    np.testing.assert_array_equal(scores[1], 0)


def test_by_value_asks_about_every_chunk():
    head = ValueHead(ValueConfig(inputs="chunk", hidden_sizes=(4,)), 28 + 28)
    chunks = np.random.default_rng(0).normal(size=(2, 3, 4, 7)).astype(np.float32)
    asked = choice(chunks, [None, None])
    scores = ByValue(head).score(asked, lambda: None)
    alone = head(torch.cat([asked.features.pooled[1], torch.from_numpy(chunks[1, 2]).flatten()])[None])
    assert scores.shape == (2, 3)
    assert scores[1, 2] == pytest.approx(float(alone))
    with pytest.raises(HoneError, match="value of chunks"):
        ByValue(ValueHead(ValueConfig(), 4))


def test_planners_say_what_they_see():
    search = SearchConfig()
    assert label("none", search, ModelError()) == ""
    assert HONESTY in label("vvlaps", search, ModelError())
    assert HONESTY not in label("value", search, ModelError())
    assert "friction x0.5" in label("vlaps", search, ModelError(friction=0.5))
    assert label("vlaps", search, ModelError()) != label("vvlaps", search, ModelError())
    flat = settings("best-of-n", search)
    assert (flat.mcts.max_depth, flat.candidates.library, flat.rollout_share) == (1, 0, 1.0)
    assert settings("vlaps", search).rollout_share == 1.0
    with pytest.raises(HoneError, match="needs --value"):
        build_planning("vvlaps", search, LiberoConfig(), None, ModelError())


@pytest.mark.sim
def test_by_outcome_counts_how_much_of_the_plan_is_done():
    """Of three chunks the one that brings the hand nearest to what is to be picked up scores best, and the real
    simulator is where it was."""
    from hone.envs.libero.suites import task
    from hone.language.grammar import decompose

    config = LiberoConfig(images=False, state_tokens="objects_v1", physics="fast")
    env = config.build(1)
    env.reset([0], [task("libero_object", 0)], [Placement("sampled", 3)])
    policy = SmallPolicyConfig(inputs="state").build(0)
    policy.fit_normalization(Observation.cat([env.observe([0])] * 2))
    observation, facts = env.observe([0]), env.facts([0])[0]
    thing = decompose(observation.instructions[0], facts).subgoals[0].thing
    way = facts.objects[thing].position - observation.proprio[0, :3]
    chunks = np.zeros((1, 3, 8, 7), np.float32)
    chunks[..., 6] = -1
    chunks[0, 0, :, :3] = -way / np.linalg.norm(way)
    chunks[0, 2, :, :3] = way / np.linalg.norm(way)
    verifier = ByOutcome(config.build(3), policy, 3, follow=0)
    before = env._slots[0].data.qpos.copy()
    asked = Choice(env, [0], observation, policy.encode(observation), chunks, [None])
    scores = verifier.score(asked, lambda: None)
    assert scores[0].argmax() == 2
    assert scores[0, 2] > scores[0, 1] >= scores[0, 0]
    np.testing.assert_array_equal(env._slots[0].data.qpos, before)
    assert verifier.finish(0) == 24
    verifier.close()
    env.close()
