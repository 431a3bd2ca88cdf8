"""Policies small enough to know everything about: what training is tested on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from hone.policies.base import Candidate, Features, LogProb
from hone.policies.inputs import OBJECT_LAYOUTS
from hone.policies.small import SmallPolicyConfig
from hone.training.decisions import DecisionBatch
from hone.types import Observation


def as_features(pooled: Tensor, version: int = 0) -> Features:
    rows = len(pooled)
    return Features(pooled.new_zeros(rows, 0, 1), torch.ones(rows, 0, dtype=torch.bool), pooled, version)


def save_untrained(network: SmallPolicyConfig, folder: Path) -> Path:
    """A small policy that has learned nothing, ready to be loaded: its inputs are normalised, by random ones."""
    rng = np.random.default_rng(0)
    proprio = rng.normal(size=(32, 8)).astype(np.float32)
    state = (
        rng.normal(size=(32, 3, OBJECT_LAYOUTS["objects_v1"][0])).astype(np.float32)
        if network.inputs == "state"
        else None
    )
    policy = network.build(0)
    policy.fit_normalization(Observation(proprio, ("go",) * 32, state=state))
    policy.save_pretrained(folder)
    return folder


class LinearGaussianHead(nn.Module):
    """Mean chunk linear in the features, fixed standard deviation in every dimension."""

    def __init__(self, in_dim: int, chunk_length: int, action_dim: int, sigma: float) -> None:
        super().__init__()
        self.shape = (chunk_length, action_dim)
        self.sigma = sigma
        self.linear = nn.Linear(in_dim, chunk_length * action_dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def mean(self, features: Features) -> Tensor:
        return self.linear(features.pooled).unflatten(-1, self.shape)

    def loss(
        self, features: Features, actions: Tensor, mask: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        squared = ((self.mean(features) - actions) ** 2).mean(-1)
        return (squared * mask).sum() / mask.sum()


class LinearGaussianPolicy(nn.Module):
    """Proprioception through a linear encoder, then a linear-Gaussian head. Statistics are kept like real ones."""

    mean: Tensor
    std: Tensor

    def __init__(self, chunk_length: int = 2, action_dim: int = 3, sigma: float = 0.5) -> None:
        super().__init__()
        self.chunk_length, self.past_length = chunk_length, 0
        self.features_version = 0
        self.train_encoder = True
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("std", torch.ones(8))
        self.encoder = nn.Linear(8, 8, bias=False)
        nn.init.eye_(self.encoder.weight)
        self.head = LinearGaussianHead(8, chunk_length, action_dim, sigma)

    def encode(
        self, observation: Observation, *, augmentation: Any = None, generator: torch.Generator | None = None
    ) -> Features:
        vector = (torch.from_numpy(observation.proprio) - self.mean) / self.std
        if augmentation is not None and augmentation.jitter:
            vector = vector + augmentation.jitter * torch.randn(vector.shape, generator=generator)
        return as_features(self.encoder(vector), self.features_version)

    def fit_normalization(self, observation: Observation) -> None:
        self.mean.copy_(torch.from_numpy(observation.proprio.mean(0)))
        self.std.copy_(torch.from_numpy(observation.proprio.std(0)).clamp(min=1e-2))

    def trainable_parameters(self) -> list[nn.Parameter]:
        return list(self.parameters()) if self.train_encoder else list(self.head.parameters())

    def draw(self, features: Features, generator: torch.Generator) -> Candidate:
        with torch.no_grad():
            mean = self.head.mean(features)
            sample = mean + self.head.sigma * torch.randn(mean.shape, generator=generator)
        return Candidate(sample.clamp(-1, 1), sample)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        normalised = (candidate.sample - self.head.mean(features)) / self.head.sigma
        constant = math.log(self.head.sigma) + 0.5 * math.log(2 * math.pi)
        terms = (-0.5 * normalised**2 - constant).flatten(1)
        return LogProb(terms.sum(-1), terms, torch.ones_like(terms, dtype=torch.bool), "exact")

    def save_pretrained(self, folder: str | Path) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"policy": "toy"}))
        (folder / "model.safetensors").write_bytes(safetensors.torch.save(dict(self.state_dict())))

    def load(self, folder: Path) -> None:
        self.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))


class BanditPolicy(nn.Module):
    """A softmax over arms, the same whatever it sees. The chunk holds the number of the arm."""

    def __init__(self, arms: int = 2) -> None:
        super().__init__()
        self.features_version = 0
        self.train_encoder = False
        self.logits = nn.Parameter(torch.zeros(arms))

    def encode(self, observation: Observation) -> Features:
        return as_features(torch.zeros(len(observation), 1))

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [self.logits]

    def draw(self, count: int, generator: torch.Generator) -> Candidate:
        arms = torch.multinomial(self.logits.detach().softmax(0), count, replacement=True, generator=generator)
        return Candidate(arms.float()[:, None, None], arms[:, None])

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        terms = self.logits.log_softmax(0)[candidate.sample]
        return LogProb(terms.sum(-1), terms, torch.ones_like(terms, dtype=torch.bool), "exact")


def observations(rows: int, seed: int = 0) -> Observation:
    proprio = np.random.default_rng(seed).standard_normal((rows, 8)).astype(np.float32)
    return Observation(proprio=proprio, instructions=("pick up the milk",) * rows)


def gaussian_batch(policy: LinearGaussianPolicy, rows: int, seed: int = 0, stored: bool = True) -> DecisionBatch:
    """Decisions drawn from `policy`, with random advantages and uneven weights, some of them zero."""
    generator = torch.Generator().manual_seed(seed)
    observation = observations(rows, seed)
    with torch.no_grad():
        features = policy.encode(observation)
        candidate = policy.draw(features, generator)
        old = policy.log_prob(features, candidate).total
    return DecisionBatch(
        inputs=features if stored else observation,
        candidate=candidate,
        old_log_prob=old,
        advantages=torch.randn(rows, generator=generator),
        weights=torch.arange(rows) % 4 / 2.0,
    )
