"""What a policy did, written down step by step as an episode, so that it can be looked at or learned from."""

from __future__ import annotations

import numpy as np
import torch

from hone.envs.base import Environment
from hone.policies.base import Policy
from hone.types import Episode, Observation, Placement, Task


@torch.no_grad()
def recorded(env: Environment, policy: Policy, task: Task, placement: Placement) -> Episode:
    """One greedy episode in slot 0 of `env`, with what the policy was given and the pictures of all cameras."""
    env.reset([0], [task], [placement])
    state = policy.initial_state(1)
    seen: list[Observation] = []
    pictures: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    while True:
        candidates, state = policy.propose(policy.encode(env.observe([0])), state, 1, None)
        for action in candidates.chunks[0, 0].numpy().astype(np.float32):
            seen.append(env.observe([0]))
            drawn = seen[-1].images
            pictures.append((env.render([0]) if drawn is None else drawn)[0])
            actions.append(action)
            result = env.step([0], action[None, None])
            if result.done[0]:
                state_rows = [observation.state for observation in seen if observation.state is not None]
                return Episode(
                    task=task,
                    placement=placement,
                    status="success" if result.terminated[0] else "failure",
                    proprio=np.concatenate([observation.proprio for observation in seen]),
                    actions=np.stack(actions),
                    executed=np.stack(actions),
                    images=np.stack(pictures),
                    state=np.concatenate(state_rows) if state_rows else None,
                    metadata={"decoding": "greedy", "instruction": seen[0].instructions[0]},
                )
