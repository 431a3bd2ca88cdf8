"""The policies learn toys whose answer is known: what the instruction names, where the picture shows it."""

import numpy as np
import torch

from hone.policies import FlowPolicyConfig, SmallPolicyConfig
from hone.policies.heads import DCTHeadConfig
from hone.types import Observation

SIZE, H, A = 28, 4, 7
COLOURS = {"red": 0, "green": 1}


def make_scene(rng: np.random.Generator, batch: int) -> tuple[Observation, torch.Tensor]:
    """A red and a green square on black; the chunk to learn is the place of the one that the instruction names."""
    images = np.zeros((batch, 1, SIZE, SIZE, 3), np.uint8)
    corners = rng.integers(0, SIZE - 6, size=(batch, 2, 2))
    wanted = rng.choice(list(COLOURS), size=batch)
    for row in range(batch):
        for colour, (top, left) in enumerate(corners[row]):
            images[row, 0, top : top + 6, left : left + 6, colour] = 255
    place = corners[np.arange(batch), [COLOURS[name] for name in wanted]] / (SIZE - 6) * 1.6 - 0.8
    actions = np.zeros((batch, H, A), np.float32)
    actions[..., :2] = place[:, None]
    proprio = rng.normal(size=(batch, 8)).astype(np.float32)
    instructions = tuple(f"go to the {name} square" for name in wanted)
    return Observation(proprio, instructions, images), torch.from_numpy(actions)


def test_small_policy_goes_where_the_instruction_says():
    config = SmallPolicyConfig(
        chunk_length=H, cameras=("front",), image_size=SIZE, channels=32, head=DCTHeadConfig(hidden_sizes=(64,))
    )
    policy, rng = config.build(), np.random.default_rng(0)
    policy.fit_normalization(make_scene(rng, 200)[0])
    steps = 250
    optimizer = torch.optim.AdamW(policy.trainable_parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        observation, actions = make_scene(rng, 64)
        loss = policy.head.loss(policy.encode(observation), actions, torch.ones(64, H, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    observation, actions = make_scene(np.random.default_rng(1), 200)
    error = (policy.predict_action_chunk(observation) - actions)[..., :2].abs().mean().item()
    # Ignoring the instruction leaves a mean error of about 0.27 (either square); ignoring the picture, 0.4.
    assert error < 0.03


def test_flow_policy_learns_a_chunk_and_samples_around_it():
    policy = FlowPolicyConfig(chunk_length=H, cameras=("front",), image_size=SIZE, width=32, patch=28).build()
    observation, _ = make_scene(np.random.default_rng(0), 32)
    policy.fit_normalization(observation)
    policy.train_encoder = False
    features = policy.encode(observation)
    actions = torch.linspace(-0.8, 0.8, H)[None, :, None].expand(32, H, A)
    mask, generator = torch.ones(32, H, dtype=torch.bool), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(policy.trainable_parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=300)
    for _ in range(300):
        loss = policy.head.loss(features, actions, mask, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    policy.exploration = 0.02
    generators = [torch.Generator().manual_seed(row) for row in range(32)]
    with torch.no_grad():
        candidates, _ = policy.propose(features, None, 4, generators)
    # With a constant target a, the optimal velocity (a - x) / (1 - t) takes every noise to a; the first noise itself is
    # 0.9 away on average. What remains is the unfinished fit and the last step's injected 0.01.
    error = (candidates.chunks - actions[:, None]).abs().mean().item()
    assert error < 0.1
