"""A policy that follows hints: nothing changes without one, and the hint is a block of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.exploration.phrases import phrase_of
from hone.policies.heads import DCTHeadConfig
from hone.policies.small import SmallPolicy, SmallPolicyConfig
from hone.training.behavior_cloning import BehaviorCloningConfig, clone, with_hints
from hone.types import Episode, Observation, Placement, Task

HINT = "move left, keep the gripper open"
TASK = Task("toy", 0, "toy", "go")


def observation(rows: int = 4, **more) -> Observation:
    rng = np.random.default_rng(0)
    state = rng.normal(size=(rows, 3, 11)).astype(np.float32)
    return Observation(
        rng.normal(size=(rows, 8)).astype(np.float32),
        tuple(f"task {row}" for row in range(rows)),
        state=state,
        **more,
    )


def policy(**more) -> SmallPolicy:
    config = SmallPolicyConfig(inputs="state", chunk_length=4, head=DCTHeadConfig(hidden_sizes=(64,)), **more)
    built = config.build(0)
    built.fit_normalization(observation(32))
    return built


def test_without_following_nothing_changes_and_old_configurations_load():
    old = SmallPolicyConfig().to_json()
    del old["follows_hints"], old["hint_dim"]
    assert SmallPolicyConfig.from_json(old, "here") == SmallPolicyConfig()
    assert not any(name.startswith("hint") for name in policy().state_dict())


def test_no_hint_and_a_blank_one_are_zeros_and_a_hint_touches_its_own_block_only():
    follower = policy(follows_hints=True, hint_dim=8)
    plain = follower.encode(observation()).pooled
    blank = follower.encode(observation(hints=("",) * 4)).pooled
    hinted = follower.encode(observation(hints=(HINT, "", HINT, ""))).pooled
    torch.testing.assert_close(plain, blank, atol=0, rtol=0)
    assert (plain[:, -8:] == 0).all()
    torch.testing.assert_close(hinted[:, :-8], plain[:, :-8], atol=0, rtol=0)
    assert (hinted[[0, 2], -8:].abs().sum(1) > 0).all()
    assert (hinted[[1, 3], -8:] == 0).all()


def test_stored_features_lose_their_hint():
    follower = policy(follows_hints=True)
    features = follower.encode(observation(hints=(HINT,) * 4))
    torch.testing.assert_close(
        follower.with_hints(features, [""] * len(features)).pooled,
        follower.encode(observation()).pooled,
        atol=0,
        rtol=0,
    )
    with pytest.raises(HoneError, match="keep observations"):
        policy().with_hints(features, [""] * len(features))


def test_a_combination_is_the_sum_of_its_clauses():
    follower = policy(follows_hints=True)
    clauses = HINT.split(", ")
    apart = follower._heard([[clause] for clause in clauses])
    torch.testing.assert_close(follower._heard([clauses])[0], apart.sum(0))


def test_hints_are_given_to_a_share_of_the_rows_and_drills_have_targets_of_their_own():
    actions = np.full((2000, 4, 7), 9.0, np.float32)
    config = BehaviorCloningConfig(hinted=0.5, drills=0.5)
    own = [f"hint {row}, open the gripper" for row in range(2000)]
    told, targets, which = with_hints(observation(2000), actions, own, config, torch.Generator().manual_seed(0))
    assert told.hints is not None
    kept = np.array([hint == phrase for hint, phrase in zip(told.hints, own, strict=True)])
    drilled = np.array([bool(hint) for hint in told.hints]) & ~kept
    assert 400 < kept.sum() < 600  # five standard errors
    assert 400 < drilled.sum() < 600
    assert (drilled == which).all()
    assert (targets[~drilled & ~kept] == 9.0).all()
    assert (targets[kept, :, :6] == 9.0).all()
    assert (targets[kept, :, 6] == [1.0, -1.0, -1.0, -1.0]).all()  # the fingers do as they are told, at once
    for row in np.flatnonzero(drilled):
        assert phrase_of(targets[row].astype(float)) == told.hints[row]


def demonstrations() -> list[Episode]:
    """The hand wanders at random, so nothing but a hint can tell which way it goes next."""
    rng = np.random.default_rng(1)
    episodes = []
    for number in range(8):
        actions = np.repeat(rng.choice([-0.5, 0.0, 0.5], size=(15, 7)), 4, axis=0).astype(np.float32)
        actions[:, 6] = -1
        seen = observation(len(actions))
        episodes.append(
            Episode(TASK, Placement("sampled", number), "success", seen.proprio, actions, actions, state=seen.state)
        )
    return episodes


def test_a_clone_does_what_a_hint_says_also_in_a_scene_it_has_not_seen():
    follower = policy(follows_hints=True)
    config = BehaviorCloningConfig(steps=300, hinted=0.7, drills=0.5)
    clone(follower, demonstrations(), config, torch.Generator().manual_seed(0))
    motion = np.array([0.5, -0.5, 0.0, 0.0, 0.0, 0.0, -1.0])
    elsewhere = replace(observation(16), proprio=np.random.default_rng(5).normal(size=(16, 8)).astype(np.float32))
    hint = phrase_of(np.tile(motion, (4, 1)))
    told = follower.predict_action_chunk(replace(elsewhere, hints=(hint,) * 16)).mean(1).numpy()
    opposite = phrase_of(np.tile(motion * [-1, -1, 1, 1, 1, 1, 1], (4, 1)))
    told_opposite = follower.predict_action_chunk(replace(elsewhere, hints=(opposite,) * 16)).mean(1).numpy()
    assert np.mean((told[:, 0] > 0.1) & (told[:, 1] < -0.1)) > 0.8
    assert np.mean((told_opposite[:, 0] < -0.1) & (told_opposite[:, 1] > 0.1)) > 0.8
    untold = follower.predict_action_chunk(elsewhere).mean(1).numpy()
    assert np.abs(untold[:, :2]).mean() < 0.3


def test_cloning_without_hints_draws_no_further_random_numbers():
    one, other = policy(), policy()
    clone(one, demonstrations(), BehaviorCloningConfig(steps=3), torch.Generator().manual_seed(0))
    clone(other, demonstrations(), BehaviorCloningConfig(steps=3, drills=0.5), torch.Generator().manual_seed(0))
    torch.testing.assert_close(one.state_dict(), other.state_dict(), atol=0, rtol=0)


@pytest.mark.parametrize("name", ["hinted", "drills"])
def test_shares_are_between_zero_and_one(name):
    with pytest.raises(HoneError, match=name):
        replace(BehaviorCloningConfig(), **{name: 1.5})  # type: ignore[arg-type]
