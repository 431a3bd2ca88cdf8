"""A reward program on real rollouts: from LIBERO's own sentence to a claim, along the expert's episode."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from witnessed import Asked, Witnessed

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.facts import Facts
from hone.envs.libero.suites import task
from hone.primitives.expert import Expert
from hone.rewards import build_reward
from hone.types import Placement

SOUP = task("libero_object", 0)
REST = np.array([0, 0, 0, 0, 0, 0, -1], np.float32)


@pytest.mark.sim
def test_the_expert_is_claimed_and_a_robot_at_rest_earns_nothing():
    env = LiberoConfig(images=False, physics="fast", stop_at_success=False).build(1)

    def facts() -> Facts:
        return env.facts([0])[0]

    env.reset([0], [SOUP], [Placement("sampled", 1)])
    expert, looks = Expert(), [facts()]
    for step in count(1):
        command = expert.act(facts())
        if command is None:
            break
        env.step([0], command.action.astype(np.float32)[None, None])
        if step % 8 == 0:
            looks.append(facts())
    looks.append(facts())
    env.reset([0], [SOUP], [Placement("sampled", 1)])
    idle = [facts()]
    for _ in range(3):
        env.step([0], np.tile(REST, (1, 8, 1)))
        idle.append(facts())
    env.close()

    rewards = build_reward("synthesized")([Witnessed(tuple(episode), Asked(0, SOUP)) for episode in (looks, idle)])
    assert rewards[0] == 1.0
    assert rewards[1] < 0.005
