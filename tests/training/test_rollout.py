"""One loop for every episode: nothing lost, nothing counted twice, noise independent of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.training.toy_environment import CAP, TASKS, ToyConfig, ToyEnvironment, forward_policy

from hone.policies.base import Features
from hone.policies.small import SmallPolicyConfig
from hone.specs import SpecMismatchError
from hone.training.rollout import EpisodeRequest, rollout
from hone.types import Observation, Placement, Task


def requests(count: int, placement: int = 0, **more) -> list[EpisodeRequest]:
    return [EpisodeRequest(i, TASKS[i % 2], Placement("sampled", placement + i), seed=i, **more) for i in range(count)]


def test_every_request_gives_one_trajectory_with_the_right_length():
    env = ToyConfig().build(3)
    trajectories = list(rollout(env, forward_policy(speed=0.5), requests(7, greedy=True)))
    assert sorted(t.request.episode_id for t in trajectories) == list(range(7))
    for t in trajectories:
        start = t.request.placement.index / 10
        assert t.success
        assert t.steps == int(np.ceil((3.0 - start) / 0.5 - 1e-9))
        assert t.executed.sum() == t.steps
        assert t.inputs is None


def test_a_policy_too_slow_for_the_cap_fails():
    trajectories = list(rollout(ToyConfig().build(2), forward_policy(speed=0.1), requests(2, greedy=True)))
    assert [(t.status, t.steps) for t in trajectories] == [("failure", CAP)] * 2


@dataclass(frozen=True)
class Until:
    """A witness that is content at some position."""

    position: float

    def finished(self, task: Task, facts: Sequence[float]) -> bool:
        return facts[-1] >= self.position


def test_a_witness_ends_the_episode_and_the_simulators_success_does_not():
    env, policy = ToyConfig().build(2), forward_policy(speed=0.5)
    (long,) = rollout(env, policy, requests(1, greedy=True), witness=Until(5.0))
    assert (long.facts, long.success, long.steps) == ((0.0, 2.0, 4.0, 6.0), True, CAP)
    (short,) = rollout(env, policy, requests(1, greedy=True), witness=Until(2.0))
    assert (short.facts, short.success, short.decisions) == ((0.0, 2.0), False, 1)
    (blind,) = rollout(env, policy, requests(1, greedy=True))
    assert (blind.facts, blind.success, blind.steps) == ((), True, 6)


def test_divergence_is_tried_again_and_then_the_policys_failure():
    calls = []
    env = ToyConfig().build(2)
    reset = env.reset
    env.reset = lambda slots, tasks, placements: (calls.append(len(slots)), reset(slots, tasks, placements))[1]
    (trajectory,) = rollout(env, forward_policy(speed=0.5), requests(1, placement=99, greedy=True))
    assert trajectory.status == "failure"
    assert trajectory.fault == "simulation diverged"
    assert calls == [1, 1]


def state_policy():
    policy = SmallPolicyConfig(inputs="state", chunk_length=4).build(0)
    policy.fit_normalization(observation(20))
    return policy


def observation(rows: int) -> Observation:
    generator = np.random.default_rng(0)
    state = generator.normal(size=(rows, 10, 11)).astype(np.float32)
    return Observation(generator.normal(size=(rows, 8)).astype(np.float32), ("go",) * rows, state=state)


class StateToy(ToyEnvironment):
    """The toy environment with state tokens, for a policy that has a likelihood."""

    def __init__(self, num_slots: int, spec) -> None:
        super().__init__(ToyConfig(), num_slots)
        self.spec = spec

    def observe(self, slots):
        seen = super().observe(slots)
        state = np.zeros((len(slots), 10, 11), np.float32)
        state[:, 0, 0], state[:, 0, 9:] = seen.proprio[:, 0], 1
        return Observation(seen.proprio, seen.instructions, state=state)


@pytest.mark.parametrize("keep", ["features", "observations"])
def test_what_is_kept_reproduces_the_log_probabilities(keep):
    policy = state_policy()
    env = StateToy(3, policy.spec)
    for t in rollout(env, policy, requests(4), keep=keep):
        assert t.inputs is not None
        assert t.candidate is not None
        features = t.inputs if isinstance(t.inputs, Features) else policy.encode(t.inputs)
        assert len(features) == t.decisions
        again = policy.log_prob(features, t.candidate).total
        torch.testing.assert_close(again, t.log_prob, atol=1e-4, rtol=1e-5)


def test_an_episode_does_not_depend_on_its_neighbours():
    policy = state_policy()
    alone = {t.request.episode_id: t for t in rollout(StateToy(1, policy.spec), policy, requests(5), keep="features")}
    batched = {t.request.episode_id: t for t in rollout(StateToy(4, policy.spec), policy, requests(5), keep="features")}
    for episode, trajectory in alone.items():
        mine, other = trajectory.candidate, batched[episode].candidate
        assert mine is not None
        assert other is not None
        torch.testing.assert_close(mine.sample, other.sample, atol=1e-5, rtol=1e-5)
        assert trajectory.steps == batched[episode].steps


def test_differing_specs_stop_before_the_first_step():
    with pytest.raises(SpecMismatchError, match="state_tokens"):
        list(rollout(ToyConfig().build(1), state_policy(), requests(1)))


def test_observation_rows_keep_every_part():
    whole = observation(5)
    parts = [whole.rows(slice(0, 2)), whole.rows(np.array([2, 3, 4]))]
    again = Observation.cat(parts)
    np.testing.assert_array_equal(again.state, whole.state)
    np.testing.assert_array_equal(again.proprio, whole.proprio)
    assert again.instructions == whole.instructions
    assert again.images is None
