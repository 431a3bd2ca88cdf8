"""How likely the policy is to finish from here: a value head on its frozen features, trained offline on its episodes.

V-VLAPS (arXiv:2601.00969) trains a small network on a VLA's latent to predict Monte-Carlo returns, on successes and
failures alike:

    G_t = gamma^(T - t) [success],    T the control step at which the episode ended
    loss = cross-entropy of sigmoid(f(x_t)) against G_t, a number in [0, 1]

Its mixing and hyperparameters are not published; these are our own. Three things a value can look at (`inputs`): the
policy's features; the same with the chunk that was chosen, Q(s, u), which re-ranks candidates without a simulator
(V-GPS, arXiv:2410.13816, has an offline-RL critic there); or proprioception and object poses (privileged), which spares
an image policy's search from drawing. Data are split by task and initial state: `calibration` states say when to stop
and scale the logit (Platt), `test` states are only measured on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from hone.cache import write_atomically
from hone.errors import HoneError
from hone.evaluation.run_folder import read_json
from hone.policies.base import Features
from hone.policies.inputs import object_features, proprio_features
from hone.policies.pretrained import seeded_initialisation
from hone.training.rollout import Trajectory
from hone.types import Observation, Placement, Task

LOOK_EVERY = 50
"""Optimizer steps between two looks at the calibration states."""
Inputs = Literal["features", "chunk", "state"]


@dataclass(frozen=True)
class ValueConfig:
    """Shape and training of a value head."""

    inputs: Inputs = "features"
    """What it looks at: the policy's `features`, these and the `chunk` chosen, or the privileged `state`."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    discount: float = 0.995
    """Per control step; the same as the search's."""
    steps: int = 1500
    """Optimizer steps."""
    batch_size: int = 256
    """Decisions per step."""
    learning_rate: float = 1e-3
    """AdamW's highest, along one cycle."""
    weight_decay: float = 1e-2
    """AdamW's."""
    jitter: float = 0.1
    """Noise on the normalised inputs, so that the head does not learn episodes by heart."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise HoneError(f"value {name} is {getattr(self, name)}; it must be positive.")
        if not 0 < self.discount <= 1:
            raise HoneError(f"value discount is {self.discount}; it must be in (0, 1].")
        if self.inputs not in ("features", "chunk", "state"):
            raise HoneError(f"value inputs is {self.inputs!r}; use 'features', 'chunk' or 'state'.")


@dataclass(frozen=True)
class Experience:
    """`D` decisions: what the value looks at, their Monte-Carlo return, whether the episode succeeded, and the number
    of the (task, initial state) that each comes from."""

    inputs: Float[Tensor, "D P"]
    returns: Float[Tensor, " D"]
    solved: Bool[Tensor, " D"]
    starts: Int64[Tensor, " D"]

    def rows(self, index: Tensor) -> Experience:
        return Experience(self.inputs[index], self.returns[index], self.solved[index], self.starts[index])


class ValueHead(nn.Module):
    """`V(x) = sigmoid(scale f((x - mean) / std) + shift)`, in [0, 1]; `scale` and `shift` calibrate."""

    mean: Tensor
    std: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, config: ValueConfig, in_dim: int, seed: int = 0) -> None:
        super().__init__()
        self.config, self.in_dim = config, in_dim
        for name, value in (("mean", 0.0), ("std", 1.0)):
            self.register_buffer(name, torch.full((in_dim,), value))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("shift", torch.tensor(0.0))
        sizes = (in_dim, *config.hidden_sizes)
        with seeded_initialisation(seed):
            layers: list[nn.Module] = []
            for before, after in pairwise(sizes):
                layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU()]
            self.network = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def logits(self, inputs: Float[Tensor, "n P"], noise: Float[Tensor, "n P"] | None = None) -> Float[Tensor, " n"]:
        """Before calibration. `noise` is in units of the inputs' spread."""
        normal = (inputs - self.mean) / self.std
        return self.network(normal if noise is None else normal + noise)[:, 0]

    @torch.no_grad()
    def forward(self, inputs: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        return torch.sigmoid(self.scale * self.logits(inputs) + self.shift)

    def of(
        self, features: Features, observation: Observation, chunks: Float[Tensor, "n H A"] | None = None
    ) -> Float32[np.ndarray, " n"]:
        """The value of each row."""
        return self(value_inputs(self.config.inputs, features, observation, chunks)).numpy()

    def save(self, folder: Path) -> None:
        write_atomically(folder / "value.safetensors", safetensors.torch.save(dict(self.state_dict())))
        described = {**asdict(self.config), "in_dim": self.in_dim}
        write_atomically(folder / "value.json", json.dumps(described, indent=2).encode())

    @classmethod
    def load(cls, folder: Path) -> ValueHead:
        if not (folder / "value.json").exists():
            raise HoneError(f"there is no value head in '{folder}'; `hone value` trains one.")
        described: dict[str, Any] = read_json(folder / "value.json")
        in_dim = described.pop("in_dim")
        head = cls(ValueConfig(**{**described, "hidden_sizes": tuple(described["hidden_sizes"])}), in_dim)
        head.load_state_dict(safetensors.torch.load_file(folder / "value.safetensors"))
        return head.eval()


class ShuffledValue:
    """A control: values of states drawn at random from those a head was trained on, whatever it is asked about."""

    def __init__(self, values: Float32[np.ndarray, " n"], seed: int) -> None:
        self._values, self._generator = values, np.random.default_rng(seed)

    def of(
        self, features: Features, observation: Observation, chunks: Tensor | None = None
    ) -> Float32[np.ndarray, " n"]:
        return self._generator.choice(self._values, len(features))


def value_inputs(
    inputs: Inputs,
    features: Features | None,
    observation: Observation | None,
    chunks: Float[Tensor, "n H A"] | None = None,
) -> Float[Tensor, "n P"]:
    """What a value head looks at; raises `HoneError` where that is not given."""
    if inputs != "state":
        if features is None:
            raise HoneError("a value on the policy's features needs rollouts with keep='features'.")
        if inputs == "features":
            return features.pooled
        if chunks is None:
            raise HoneError("a value of chunks was asked about states; use one with inputs 'features' or 'state'.")
        return torch.cat([features.pooled, chunks.flatten(1)], dim=-1)
    if observation is None or observation.state is None:
        raise HoneError("a value with inputs 'state' reads object poses, which these observations do not have.")
    proprio = torch.from_numpy(observation.proprio)
    poses = object_features(torch.from_numpy(observation.state), proprio[:, :3])
    return torch.cat([proprio_features(proprio), poses], dim=-1)


def experience(trajectories: Sequence[Trajectory], config: ValueConfig) -> Experience:
    """Every decision of every episode, faults left out. Rollouts must have kept features (or, for `state`,
    observations with object poses)."""
    starts: dict[tuple[Task, Placement], int] = {}
    inputs, returns, solved, numbers = [], [], [], []
    for trajectory in (t for t in trajectories if t.status != "error"):
        if trajectory.inputs is None or trajectory.candidate is None:
            raise HoneError("these trajectories keep no decisions; roll out with keep='features' or 'observations'.")
        seen, chunks = trajectory.inputs, trajectory.candidate.chunk
        features = seen if isinstance(seen, Features) else None
        observation = seen if isinstance(seen, Observation) else None
        inputs.append(value_inputs(config.inputs, features, observation, chunks))
        before = np.concatenate([[0], np.cumsum(trajectory.executed)[:-1]])
        returns.append(torch.from_numpy(monte_carlo(trajectory.steps - before, trajectory.success, config.discount)))
        solved.append(torch.full((len(chunks),), trajectory.success))
        key = (trajectory.request.task, trajectory.request.placement)
        numbers.append(torch.full((len(chunks),), starts.setdefault(key, len(starts))))
    if not inputs:
        raise HoneError("there is no episode to train a value on.")
    return Experience(torch.cat(inputs), torch.cat(returns), torch.cat(solved), torch.cat(numbers))


def monte_carlo(steps_left: np.ndarray, success: bool, discount: float) -> Float32[np.ndarray, " D"]:
    """`gamma^(T - t)` of a success, 0 of a failure."""
    return (discount**steps_left * success).astype(np.float32)


def split(starts: Int64[Tensor, " D"], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows to train on (60 % of the initial states), to stop and calibrate by (20 %) and to test on; none shares a
    state."""
    every = torch.unique(starts)
    if len(every) < 6:
        raise HoneError(f"a value needs episodes from at least 6 initial states, not {len(every)}.")
    order = every[torch.randperm(len(every), generator=generator)]
    first, second = int(0.6 * len(order)), max(int(0.8 * len(order)), int(0.6 * len(order)) + 1)
    parts = order[:first], order[first:second], order[second:]
    train, calibration, test = (torch.nonzero(torch.isin(starts, part)).flatten() for part in parts)
    return train, calibration, test


def fit_value(
    known: Experience, config: ValueConfig, generator: torch.Generator, seed: int = 0
) -> tuple[ValueHead, dict[str, float]]:
    """A trained and calibrated head, and how good it is on initial states it never saw.

    A few hundred episodes are soon learned by heart, so the weights kept are those that did best on calibration states.
    """
    train, calibration, test = (known.rows(rows) for rows in split(known.starts, generator))
    if not 0 < float(train.solved.float().mean()) < 1:
        raise HoneError("a value needs successes and failures to learn from; these episodes are all of one kind.")
    head = ValueHead(config, known.inputs.shape[1], seed)
    head.mean.copy_(train.inputs.mean(0))
    head.std.copy_(train.inputs.std(0).clamp(min=1e-2))
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    best, kept = float("inf"), head.state_dict()
    for step in range(1, config.steps + 1):
        batch = train.rows(torch.randint(len(train.returns), (config.batch_size,), generator=generator))
        noise = config.jitter * torch.randn(batch.inputs.shape, generator=generator)
        loss = functional.binary_cross_entropy_with_logits(head.logits(batch.inputs, noise), batch.returns)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % LOOK_EVERY == 0 or step == config.steps:
            with torch.no_grad():
                logits = head.logits(calibration.inputs)
                held_out = float(functional.binary_cross_entropy_with_logits(logits, calibration.returns))
            if held_out < best:
                best, kept = held_out, {name: tensor.clone() for name, tensor in head.state_dict().items()}
    head.load_state_dict(kept)
    head.eval()
    _calibrate(head, calibration)
    found = head(test.inputs)
    return head, {
        "auc": area_under_curve(found.numpy(), test.solved.numpy()),
        "auc_first_decision": _first_decision(head, test),
        "calibration_error": calibration_error(found.numpy(), test.returns.numpy()),
        "cross_entropy": float(functional.binary_cross_entropy(found, test.returns)),
        "base_cross_entropy": float(
            functional.binary_cross_entropy(train.returns.mean().expand(len(test.returns)), test.returns)
        ),
        "decisions": float(len(known.returns)),
        "initial_states": float(len(torch.unique(known.starts))),
        "test_states": float(len(torch.unique(test.starts))),
        "success_rate": float(known.solved[_firsts(known)].float().mean()),
    }


def _calibrate(head: ValueHead, known: Experience) -> None:
    """Scale and shift of the logit by maximum likelihood (Platt 1999)."""
    with torch.no_grad():
        logits = head.logits(known.inputs)
    parameters = [torch.tensor(1.0, requires_grad=True), torch.tensor(0.0, requires_grad=True)]
    optimizer = torch.optim.LBFGS(parameters, max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        scaled = parameters[0] * logits + parameters[1]
        # A weak pull towards leaving it as it is keeps the scale finite where the states are few.
        loss = functional.binary_cross_entropy_with_logits(scaled, known.returns) + 1e-3 * (parameters[0] - 1) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    head.scale.copy_(parameters[0].detach().clamp(min=0.05))
    head.shift.copy_(parameters[1].detach())


def _first_decision(head: ValueHead, known: Experience) -> float:
    """The same area over first looks alone, where nothing but the initial state tells success from failure."""
    first = _firsts(known)
    return area_under_curve(head(known.inputs[first]).numpy(), known.solved[first].numpy())


def _firsts(known: Experience) -> Tensor:
    """The row of the first decision from each initial state."""
    return torch.tensor([int(torch.nonzero(known.starts == start)[0]) for start in torch.unique(known.starts)])


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores higher than a negative, ties half (the ROC's area); NaN-free: 0.5 where there
    are only positives or only negatives."""
    if positive.all() or not positive.any():
        return 0.5
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    values, inverse = np.unique(scores, return_inverse=True)
    mean_rank = np.bincount(inverse, ranks) / np.bincount(inverse, minlength=len(values))
    count = int(positive.sum())
    above = mean_rank[inverse][positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(scores) - count)))


def calibration_error(predicted: np.ndarray, returns: np.ndarray, bins: int = 10) -> float:
    """Mean difference between what was predicted and what came, over bins of equal width, weighted by their size."""
    which = np.minimum((predicted * bins).astype(int), bins - 1)
    gaps = [abs(predicted[which == b].mean() - returns[which == b].mean()) * (which == b).sum() for b in set(which)]
    return float(np.sum(gaps) / len(predicted))
