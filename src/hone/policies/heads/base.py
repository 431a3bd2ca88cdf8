"""The seam between a policy's features and its actions: an action decoder ("head")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb


@dataclass(frozen=True)
class SamplingHooks:
    """The three places where a method may reach into sampling. All are optional; none changes `log_prob`, which stays
    the density of the head itself.

    - `before(noise, features) -> noise`: the standard-normal noise `[B, K, ...]` the head is about to use.
    - `during(x, time) -> x`: the intermediate state `[B, K, ...]`; `time` runs from 0 (noise) to 1 (action). A decoder
      with one step calls it once, at time 1, on what it is about to decode.
    - `after(candidates, features) -> candidates`: the finished proposals, say to put the best first.
    """

    before: Callable[[Tensor, Features], Tensor] | None = None
    during: Callable[[Tensor, float], Tensor] | None = None
    after: Callable[[Candidates, Features], Candidates] | None = None


NO_HOOKS = SamplingHooks()

RANGE_TOLERANCE = 1e-3
"""How far beyond its range an action may lie (rounding) before it is taken for one that was not normalised."""


@dataclass(frozen=True)
class ChunkSpace:
    """The chunks a head decodes: `length` steps of `action_dim` numbers in [`low`, `high`]."""

    length: int
    action_dim: int
    low: float
    high: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.length, self.action_dim

    @property
    def explored(self) -> Bool[Tensor, "H A"]:
        """The numbers that a head draws and that count in its density: all of them, unless some are only padding."""
        return torch.ones(self.shape, dtype=torch.bool)

    def clamp(self, chunks: Float[Tensor, "*B H A"]) -> Float[Tensor, "*B H2 A2"]:
        """What is executed of decoded chunks."""
        return chunks.clamp(self.low, self.high)

    def check(self, actions: Float[Tensor, "B H A"], mask: Bool[Tensor, "B H"]) -> None:
        """Raise unless `actions` are chunks of this shape whose real steps are finite and within the range."""
        if actions.shape[1:] != self.shape:
            raise HoneError(
                f"action chunks have shape {tuple(actions.shape[1:])}, but this head decodes {self.shape}; cut the "
                "demonstrations into chunks of its length, or build a policy with theirs."
            )
        reach = torch.where(mask[..., None], actions, (self.low + self.high) / 2)
        if not reach.isfinite().all():
            raise HoneError("actions have values that are NaN or infinite; repair or drop those demonstrations.")
        low, high = float(reach.min()), float(reach.max())
        if low < self.low - RANGE_TOLERANCE or high > self.high + RANGE_TOLERANCE:
            raise HoneError(
                f"actions reach from {low:.3g} to {high:.3g}, outside [{self.low:g}, {self.high:g}]; "
                "normalise them to the policy's range first."
            )


@dataclass(frozen=True)
class Losses:
    """What a head's cloning loss is the mean of: `values [B, M]`, of which those marked in `counted [B, M]` count."""

    values: Float[Tensor, "B M"]
    counted: Bool[Tensor, "B M"]

    def mean(self) -> Float[Tensor, ""]:
        """Over all that count; zero (with a gradient of zero) where nothing does."""
        weights = self.counted.to(self.values.dtype)
        return (self.values * weights).sum() / weights.sum().clamp(min=1)

    def rows(self) -> Float[Tensor, " B"]:
        """The same for each row by itself."""
        weights = self.counted.to(self.values.dtype)
        return (self.values * weights).sum(-1) / weights.sum(-1).clamp(min=1)


def check_features(features: Features) -> None:
    """Raise where features are NaN or infinite, before they become actions."""
    bad = ~features.pooled.isfinite().all(-1) | ~features.tokens.isfinite().all(-1).all(-1)
    if bad.any():
        rows = bad.nonzero().flatten().tolist()
        raise HoneError(
            f"features of row {', '.join(map(str, rows[:3]))} ({len(rows)} of {len(bad)}) are NaN or infinite; look "
            "for such values in the observation, or for an encoder that diverged."
        )


def check_sample(candidate: Candidate, shape: tuple[int, ...]) -> None:
    """Raise where a sample is not of this head: drawn for another chunk length, or by another decoder."""
    if tuple(candidate.sample.shape[1:]) != shape:
        raise HoneError(
            f"the candidate's sample has shape {tuple(candidate.sample.shape[1:])}, but this head draws {shape}; score "
            "a sample with the head that drew it."
        )


def checked_scale(exploration: float) -> Float[Tensor, ""]:
    """A scale of sampling noise, which must be positive and finite."""
    if not 0 < exploration < float("inf"):
        raise HoneError(
            f"exploration is {exploration}, but it must be positive and finite; ask for greedy chunks instead."
        )
    return torch.tensor(float(exploration))


def loss_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard-normal noise shaped as `like`, for a loss that draws some."""
    return torch.randn(like.shape, generator=required(generator), device=required(generator).device).to(like)


def drawn_again(
    features: Features, actions: Float[Tensor, "B H A"], draws: int
) -> tuple[Features, Float[Tensor, "N H A"]]:
    """Each row `draws` times, for losses that draw noise: their gradient is then less noisy, and the encoder's work is
    done once (as in MAR, arXiv:2406.11838). `over_draws` takes their mean."""
    if draws == 1:
        return features, actions
    rows = torch.arange(len(actions), device=actions.device).repeat(draws)
    return features[rows], actions[rows]


def over_draws(values: Float[Tensor, "N H"], draws: int) -> Float[Tensor, "B H"]:
    """The mean of what was drawn again for each row."""
    return values.unflatten(0, (draws, -1)).mean(0)


def required(generator: torch.Generator | None) -> torch.Generator:
    """The generator of a loss that draws something, which must be given."""
    if generator is None:
        raise HoneError("this head draws noise for its loss; pass a generator.")
    return generator


class Head(nn.Module, ABC):
    """Decodes features into action chunks, learns from demonstrations, and scores what it sampled.

    `exploration` is the scale of the sampling noise: settable at any time, kept in the state dict. `log_prob` uses its
    present value, so hold it still between drawing a sample and the last update that uses it.
    """

    practice: ClassVar[tuple[float, float]]
    """Exploration of the first and of the last update of practice, where a run does not say."""

    exploration_scale: Tensor
    space: ChunkSpace

    def __init__(self, exploration: float) -> None:
        super().__init__()
        self.register_buffer("exploration_scale", checked_scale(exploration))

    @property
    def exploration(self) -> float:
        return float(self.exploration_scale)

    @exploration.setter
    def exploration(self, value: float) -> None:
        # A new tensor, because a graph that is still to be differentiated may hold the old one.
        self.exploration_scale = checked_scale(value).to(self.exploration_scale)

    def loss(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Cloning loss, the mean over the steps that `mask` marks as real (a chunk may run past an episode's end).

        `generator` is for heads whose loss is itself random (flow matching); the others ignore it.
        """
        check_features(features)
        self.space.check(actions, mask)
        return self.losses(features, actions, mask, generator).mean()

    def sample(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks = NO_HOOKS
    ) -> Candidates:
        """`k` candidates per row, one generator per row; `None` gives the greedy chunk, repeated."""
        check_features(features)
        candidates = self.draw(features, k, generators, hooks)
        return hooks.after(candidates, features) if hooks.after else candidates

    @abstractmethod
    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        """What `loss` is the mean of: one value per step, or per token. Its input is checked."""

    @abstractmethod
    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        """What `sample` returns before the `after` hook sees it. Its input is checked."""

    @abstractmethod
    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        """Log-likelihood of `candidate.sample` under the present weights."""

    def evaluations(self, samples: Shaped[Tensor, "B K ..."]) -> Int64[Tensor, "B K"]:
        """How often the decoder's network was evaluated for each sample, one after the other: once, if not said."""
        return torch.ones(samples.shape[:2], dtype=torch.long, device=samples.device)


@runtime_checkable
class FitsActions(Protocol):
    """A head that looks at all demonstrated chunks once before it learns (to make its tokens)."""

    def fit(self, actions: Float[Tensor, "N H A"], mask: Bool[Tensor, "N H"]) -> None: ...


def row_noise(
    generators: Sequence[torch.Generator] | None, batch: int, shape: tuple[int, ...], device: torch.device
) -> Float[Tensor, "B ..."]:
    """Standard-normal noise `[B, *shape]`, row `b` from `generators[b]`; zeros where there are no generators
    (greedy)."""
    if generators is None:
        return torch.zeros(batch, *shape, device=device)
    if len(generators) != batch:
        raise HoneError(f"{len(generators)} generators for {batch} rows; pass one generator per row.")
    if batch == 0:
        return torch.zeros(0, *shape, device=device)
    return torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators]).to(device)


def mlp(in_dim: int, hidden_sizes: Sequence[int], out_dim: int, *, output_scale: float) -> nn.Sequential:
    """Linear-LayerNorm-SiLU blocks and a linear output whose initial weights are shrunk by `output_scale`."""
    layers: list[nn.Module] = []
    for size in hidden_sizes:
        layers += [nn.Linear(in_dim, size), nn.LayerNorm(size), nn.SiLU()]
        in_dim = size
    output = nn.Linear(in_dim, out_dim)
    with torch.no_grad():
        output.weight.mul_(output_scale)
        output.bias.zero_()
    return nn.Sequential(*layers, output)
