"""The search in front of a real environment: a toy whose answers are known, then LIBERO to the bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from toy_environment import GOAL, TASKS, ToyConfig, forward_policy

from hone.errors import HoneError
from hone.planning.candidates import CandidateConfig
from hone.planning.mcts import MctsConfig
from hone.planning.teaching import TeacherConfig, TeachingConfig, taught
from hone.planning.tree_search import SearchConfig, SearchPlanning, TreeSearch
from hone.policies.small import SmallPolicyConfig
from hone.training.credit import Judged, decision_batch
from hone.training.grpo import GRPO, GRPOConfig
from hone.training.rollout import EpisodeRequest, Trajectory, rollout
from hone.types import Observation, Placement

SEARCH = SearchConfig(
    MctsConfig(simulations=24, wave=4, max_depth=4),
    CandidateConfig(samples=1, library=14, sharpness=1.0),
    rollout_share=1.0,
)


@dataclass(frozen=True)
class Nearness:
    """Of the toy: how far along the way a slot is."""

    def of(self, features: Any, observation: Observation) -> np.ndarray:
        return np.clip(observation.proprio[:, 0] / GOAL, 0, 1).astype(np.float32)


def told(trajectory: Trajectory) -> dict[str, Any]:
    assert trajectory.report is not None
    return trajectory.report["search"]


def requests(*placements: int) -> list[EpisodeRequest]:
    return [EpisodeRequest(n, TASKS[0], Placement("sampled", p), seed=n, greedy=True) for n, p in enumerate(placements)]


def run(config: SearchConfig, *placements: int, speed: float = 0.1, slots: int = 2, **options: Any):
    env = ToyConfig().build(slots)
    policy = forward_policy(speed)
    planning = SearchPlanning(config, ToyConfig(), **options)
    lookahead = planning.build(policy, slots)
    found = list(rollout(env, policy, requests(*placements), lookahead=lookahead))
    return sorted(found, key=lambda trajectory: trajectory.request.episode_id)


def test_a_policy_that_is_too_slow_alone_gets_there_with_search():
    """0.1 a step for 12 steps never reaches 3; the library's moves of 0.5 do, and so does a line of them."""
    alone = list(rollout(ToyConfig().build(2), forward_policy(0.1), requests(0, 1)))
    assert not any(trajectory.success for trajectory in alone)
    blind = replace(SEARCH, mcts=replace(SEARCH.mcts, simulations=240, wave=16))  # rollouts alone have to find it
    for config, value in ((blind, None), (replace(SEARCH, rollout_share=0.0), Nearness())):
        searched = run(config, 0, 1, value=value)
        assert all(trajectory.success for trajectory in searched)
        report = told(searched[0])
        assert report["solved_at_decision"] is not None
        assert report["simulator_steps"] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"mcts": MctsConfig(simulations=0)},
        {"candidates": CandidateConfig(samples=1, library=0)},
        {"step_budget": 0},
    ],
    ids=["no simulations", "one candidate", "no budget"],
)
def test_without_anything_to_search_it_is_the_policy(changes):
    """Placement 20 starts at 2, from where 0.1 a step arrives; 0 does not."""
    alone = list(rollout(ToyConfig().build(2), forward_policy(0.1), requests(20, 0)))
    searched = run(replace(SEARCH, **changes), 20, 0)
    for before, after in zip(sorted(alone, key=lambda t: t.request.episode_id), searched, strict=True):
        assert (before.status, before.steps) == (after.status, after.steps)
        np.testing.assert_array_equal(before.executed, after.executed)
        assert told(after)["simulator_steps"] == 0


def test_an_episode_does_not_depend_on_those_beside_it():
    def of(trajectory):
        report = {name: value for name, value in told(trajectory).items() if name != "tree"}
        return trajectory.steps, list(trajectory.executed), report

    together = run(SEARCH, 0, 5, 10, slots=3)
    for number, placement in enumerate((0, 5, 10)):
        env, policy = ToyConfig().build(1), forward_policy(0.1)
        lookahead = SearchPlanning(SEARCH, ToyConfig()).build(policy, 1)
        request = replace(requests(placement)[0], episode_id=number, seed=number)
        (alone,) = rollout(env, policy, [request], lookahead=lookahead)
        assert of(alone) == of(together[number])


def test_the_budget_counts_every_simulated_step():
    (trajectory,) = run(replace(SEARCH, step_budget=40), 0, slots=1)
    spent = told(trajectory)["simulator_steps"]
    assert 40 <= spent <= 40 + 4 * SEARCH.mcts.wave  # the wave that was under way is finished
    unlimited = told(run(SEARCH, 0, slots=1)[0])["simulator_steps"]
    assert unlimited > spent


def test_a_search_without_rollouts_needs_a_value():
    with pytest.raises(HoneError, match="needs a value"):
        run(replace(SEARCH, rollout_share=0.5), 0)


def test_an_oracle_is_neither_counted_nor_followed():
    """Its rollouts are free: what is counted are chunks of four steps, one for each simulation."""
    searched = run(replace(SEARCH, rollout_share=0.0), 0, oracle=True)[0]
    assert told(searched)["simulator_steps"] <= 4 * told(searched)["simulations"]
    counted = run(SEARCH, 0)[0]
    assert told(counted)["simulator_steps"] > 4 * told(counted)["simulations"]


def test_nothing_is_simulated_twice():
    """From the start the policy fails (it is too slow), which costs the 12 steps of the episode. Nearly all of the
    prior is the policy's own chunk's, so the further simulations go along its line, whose states are known. A noisy
    rollout is not what the own chunks lead to, and is no help."""
    config = replace(
        SEARCH,
        mcts=MctsConfig(simulations=3, wave=1, exploration=1e6),
        candidates=CandidateConfig(samples=1, library=1, sharpness=50.0),
        step_budget=1_000,
    )
    (found,) = run(config, 0, speed=0.01, slots=1)
    assert told(found)["simulator_steps"] == 12
    assert told(found)["simulations"] > 3
    (noisy,) = run(replace(config, rollout_noise=0.1), 0, speed=0.01, slots=1)
    assert told(noisy)["simulator_steps"] > 12


def first_decision(config: SearchConfig, placement: int, speed: float, value: Nearness | None = None) -> TreeSearch:
    """The search after it decided once."""
    env, policy = ToyConfig().build(1), forward_policy(speed)
    lookahead = SearchPlanning(config, ToyConfig(), value).build(policy, 1)
    env.reset([0], [TASKS[0]], [Placement("sampled", placement)])
    observation = env.observe([0])
    features = policy.encode(observation)
    own = policy.propose(features, None, 1, None)[0].select(torch.zeros(1, dtype=torch.long))
    lookahead.decide(env, [0], requests(placement), observation, features, own, lambda: None)
    return lookahead


def test_known_states_are_the_simulated_ones():
    """Along the policy's line, which the first rollout went, each node is 4 x 0.01 further than its parent. The root
    is where the first chunk leads."""
    config = replace(
        SEARCH,
        mcts=MctsConfig(simulations=3, wave=1, exploration=1e6),
        candidates=CandidateConfig(samples=1, library=1, sharpness=50.0),
    )
    tree = first_decision(config, 0, 0.01)._tree
    assert list(tree.parent[0, : tree.size[0]]) == [-1, 0, 1]
    assert list(tree.ended[0, :3]) == [False, False, True]
    known = [tree.states[0][node].snapshot[:2] for node in range(2)]
    assert known == [(pytest.approx(0.04), 4), (pytest.approx(0.08), 8)]


def test_a_rollout_is_given_up_where_the_value_has_fallen():
    """Going backwards, the value falls from 0.67 to 0.53 by the leaf and to 0.4 after one chunk of the rollout."""
    config = replace(
        SEARCH,
        mcts=MctsConfig(simulations=1, wave=1),
        candidates=CandidateConfig(samples=1, library=1, sharpness=50.0),
        rollout_share=0.5,
    )
    for share, steps in ((0.0, 12), (0.7, 12), (0.8, 8)):
        lookahead = first_decision(replace(config, give_up=share), 20, -0.1, Nearness())
        assert lookahead._episodes[0].steps == steps


def test_what_was_found_before_the_budget_was_spent_is_followed():
    """The first decision takes all of the budget and finds no success; the second one still has its tree."""
    config = replace(
        SEARCH, rollout_share=0.0, step_budget=16, mcts=MctsConfig(simulations=99, wave=1, exploration=0.1)
    )
    (found,) = run(config, 0, speed=0.0, slots=1, value=Nearness(), keep_targets=True)
    assert told(found)["solved_at_decision"] is None
    first, second, third = (len(target.chunks) for target in found.targets)  # of the policy's own chunk: one
    assert (first, second) == (config.candidates.count, config.candidates.count)
    assert third >= 1


def test_targets_say_what_was_visited_at_every_decision():
    found = run(SEARCH, 0, keep_targets=True)[0]
    assert len(found.targets) == found.decisions
    assert all(target.visits.sum() == pytest.approx(1.0) for target in found.targets)
    assert all(len(target.visits) == len(target.chunks) for target in found.targets)


def test_a_teacher_acts_in_the_last_members_of_each_group():
    asked = [replace(request, group=n // 4) for n, request in enumerate(requests(*range(8)))]
    plain, searched = TeacherConfig(members=1).divided(asked, 4)
    assert [request.episode_id for request in searched] == [3, 7]
    assert [request.episode_id for request in plain] == [0, 1, 2, 4, 5, 6]
    assert TeacherConfig().divided(asked, 4) == (asked, [])
    with pytest.raises(HoneError, match="teaches nothing"):
        TeacherConfig(members=1, in_groups=False, distil=False)
    with pytest.raises(HoneError, match="no likelihood"):
        TeacherConfig(members=1, search=SEARCH)


# ------------------------------------------------------------------------------------------------------------- LIBERO


@pytest.fixture(scope="module")
def libero():
    from hone.envs.libero.environment import LiberoConfig
    from hone.envs.libero.suites import task

    config = LiberoConfig(images=False, state_tokens="objects_v1", physics="fast")
    env = config.build(2)
    env.reset([0, 1], [task("libero_object", 0)] * 2, [Placement("sampled", 3), Placement("sampled", 4)])
    policy = SmallPolicyConfig(inputs="state").build(0)
    policy.fit_normalization(env.observe([0, 1]))
    yield config, env, policy.requires_grad_(False)
    env.close()


LIBERO_SEARCH = SearchConfig(
    MctsConfig(simulations=6, wave=2), CandidateConfig(samples=2, library=2), rollout_share=1.0, rollout_steps=24
)


def decided(config, env, policy, search: SearchConfig = LIBERO_SEARCH):
    planning = SearchPlanning(search, config)
    lookahead = planning.build(policy, env.num_slots)
    observation = env.observe([0, 1])
    features = policy.encode(observation)
    own = policy.propose(features, None, 1, None)[0].select(torch.zeros(2, dtype=torch.long))
    asked = [EpisodeRequest(n, env._tasks[n], env._placements[n], n, greedy=True) for n in range(2)]
    chosen = lookahead.decide(env, [0, 1], asked, observation, features, own, lambda: None)
    return chosen, lookahead


@pytest.mark.sim
def test_the_real_environment_is_untouched_to_the_bit(libero):
    config, env, policy = libero
    before = env.snapshot([0, 1])
    own_future = np.random.default_rng(0).uniform(-1, 1, (2, 16, 7)).astype(np.float32)

    def state() -> list[bytes]:
        return [
            slot.state.tobytes()
            + slot.data.qpos.tobytes()
            + slot.data.qvel.tobytes()
            + slot.data.qacc_warmstart.tobytes()
            for slot in (env._slots[0], env._slots[1])
        ]

    standing = state()
    env.step([0, 1], own_future)
    expected = state()
    env.restore([0, 1], before)
    assert state() == standing

    chosen, lookahead = decided(config, env, policy)
    assert state() == standing
    assert chosen.chunk.shape == (2, policy.chunk_length, 7)
    lookahead.close()
    env.step([0, 1], own_future)
    assert state() == expected
    env.restore([0, 1], before)


@pytest.mark.sim
def test_what_was_foreseen_comes_true_to_the_bit(libero):
    """The kept tree's new root is the state that the real environment then is in."""
    config, env, policy = libero
    before = env.snapshot([0, 1])
    chosen, lookahead = decided(config, env, policy)
    env.step([0, 1], chosen.chunk.numpy().astype(np.float32))
    for slot in (0, 1):
        assert lookahead._episodes[slot].rooted
        foreseen = lookahead._tree.states[slot][0].snapshot
        assert foreseen.slot.state == env._slots[slot].state.tobytes()
        np.testing.assert_array_equal(foreseen.slot.data.qpos, env._slots[slot].data.qpos)
    env.restore([0, 1], before)


@pytest.mark.sim
def test_a_searched_episode_is_a_member_of_its_group(libero):
    """Kept with the policy's likelihood of what was executed, and with targets, like any other and beside others."""
    from hone.envs.libero.suites import task

    config, _, policy = libero
    short = replace(config, step_cap=16)
    env = short.build(2)
    only = CandidateConfig(samples=3, library=0)
    planning = SearchPlanning(replace(LIBERO_SEARCH, candidates=only), short, keep_targets=True)
    asked = [EpisodeRequest(n, task("libero_object", 0), Placement("sampled", 3), seed=n) for n in range(2)]
    policy.train_encoder = False
    for parameter in policy.head.parameters():
        parameter.requires_grad_(True)
    searched = list(rollout(env, policy, asked, keep="features", lookahead=planning.build(policy, 2)))
    plain = list(rollout(env, policy, [replace(asked[0], episode_id=2, seed=9)], keep="features"))
    assert all(len(t.targets) == t.decisions == 2 for t in searched)
    batch, _ = decision_batch(
        [*searched, *plain], Judged(torch.tensor([1.0, 0.0, 0.0]), (True, False, False)), "episode"
    )
    assert len(batch) == 6
    before = batch.old_log_prob.clone()
    GRPO(policy, GRPOConfig(epochs=1)).update(batch, torch.Generator().manual_seed(0))
    assert bool(before.isfinite().all())
    lesson = taught(searched, TeachingConfig(failures=True))
    assert set(lesson.rows.tolist()) == {0, 1, 2, 3}
    env.close()


@pytest.mark.sim
def test_a_wrong_model_foresees_something_else(libero):
    config, env, _ = libero
    wrong = replace(config, friction=0.3, mass=2.0).build(1)
    assert wrong.config.perturbations == ("friction x0.3", "mass x2")
    before = env.snapshot([0])
    wrong.restore([0], before)
    push = np.tile(np.array([0.3, 0.2, -1.0, 0, 0, 0, 1], np.float32), (1, 60, 1))
    wrong.step([0], push)
    env.step([0], push)
    assert not np.array_equal(wrong._slots[0].data.qpos, env._slots[0].data.qpos)
    right = config.build(1)
    right.restore([0], before)
    right.step([0], push)
    np.testing.assert_array_equal(right._slots[0].data.qpos, env._slots[0].data.qpos)
    env.restore([0], before)
    wrong.close()
    right.close()
