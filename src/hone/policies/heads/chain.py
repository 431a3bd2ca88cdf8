"""Decoding step by step from noise to a chunk, as a chain of Gaussians whose likelihood is known.

A denoising decoder has no density that could be evaluated: its chunk is the end of a long deterministic map. Add a
little noise to its steps and the *path* has one, a product of Gaussians, which is enough for a policy gradient (DPPO,
arXiv:2409.00588; ReinFlow, arXiv:2505.22094). Flow matching, equilibrium matching and score diffusion differ in where
a step goes; everything else is here.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import ChunkSpace, Head, SamplingHooks, check_sample, row_noise
from hone.policies.heads.field import Field

SKIPPED, RUN, DRAWN, STOPPED = 0.0, 1.0, 2.0, 3.0
"""How a chain came to a state: nothing was computed (before a warm start, after a stop); a plain step; a step with
noise, which has a density; the field was evaluated, found settled, and the chain stopped."""


class ChainHead(Head):
    """At most `steps` steps `x_{s+1} = mean(x_s, x_{s-1}) + std_s w_s`, `w_s ~ N(0, I)`, from `x_0 ~ N(0, I)`.

    The sample is the whole chain, `[S + 1, H A + 1]`: each state flattened, then how the chain came to it. `log_prob`
    has one term per step that was drawn, kind "surrogate": it is the density of the path from its first state on,
    which no weight touches, with stopping and the choice of drawn steps taken as they happened. Greedy: no noise in
    the steps, and always the same start, drawn when the head was built and saved with it. (The centre of the start
    distribution would lie on the ridge between two modes, and the chunk with it.)

    Only what the space says is `explored` gets noise and counts. The rest (padding, actions that are never executed)
    moves with the field and is taken as it was recorded.

    A `before` hook may return fewer slices of noise: the chain then makes only its last steps, from `noise[:, :, 0]` as
    it is. This is how a chunk is warm-started from another (`warm`).
    """

    evaluations_per_step = 1
    """Evaluations of the field in one step."""

    greedy_start: Tensor
    explored: Tensor

    def __init__(self, exploration: float, field: Field, space: ChunkSpace, steps: int) -> None:
        super().__init__(exploration)
        if steps < 1:
            raise HoneError(f"steps is {steps}, but a chain needs at least 1.")
        self.field = field
        self.space = space
        self.steps = steps
        self.register_buffer("greedy_start", torch.randn(space.shape))
        self.register_buffer("explored", space.explored, persistent=False)

    @abstractmethod
    def mean(
        self,
        x: Float[Tensor, "N H A"],
        previous: Float[Tensor, "N H A"],
        step: Int64[Tensor, " N"],
        drawn: Bool[Tensor, " N"],
        given: Features,
    ) -> tuple[Float[Tensor, "N H A"], Bool[Tensor, " N"]]:
        """Where step `step` goes from `x` without its noise, and whether `x` is settled: the chain then ends (`end`).

        `previous` is the state before `x` (`x` itself at the start); `drawn` says whose step gets noise.
        """

    @abstractmethod
    def std(self, step: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Standard deviation of the noise of each step, in action units."""

    def start(self, noise: Float[Tensor, "*N H A"]) -> Float[Tensor, "*N H A"]:
        """The first state of a cold chain, from standard-normal noise."""
        return noise

    @abstractmethod
    def warm(
        self, noise: Float[Tensor, "B K S H A"], chunk: Float[Tensor, "B one H A"], trust: float
    ) -> Float[Tensor, "B K S2 H A"]:
        """Noise for a chain that starts from a chunk known beforehand, for a `before` hook; `trust` in (0, 1]."""

    def end(
        self, x: Float[Tensor, "N H A"], mean: Float[Tensor, "N H A"], step: Int64[Tensor, " N"]
    ) -> Float[Tensor, "N H A"]:
        """Where a chain ends that is settled at `x`, before a step that would have gone to `mean`: there."""
        return x

    def last_steps(self, noise: Float[Tensor, "B K S H A"], trust: float) -> Float[Tensor, "B K S2 H A"]:
        """The noise of the last `1 - trust` of the steps, one at least, and of the state before them."""
        return noise[:, :, self.steps - max(1, round((1 - trust) * self.steps)) :].clone()

    def drawn_steps(
        self, generators: Sequence[torch.Generator] | None, rows: int, k: int, first: int
    ) -> Bool[Tensor, "B K S"]:
        """Which steps, from `first` on, get noise: all of them, or none where there are no generators (greedy)."""
        return torch.full((rows, k, self.steps), generators is not None)

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        batch, device = len(features), features.pooled.device
        noise = row_noise(generators, batch, (k, self.steps + 1, *self.space.shape), device)
        if generators is None:
            noise[:, :, 0] = self.greedy_start
        if hooks.before:
            noise = hooks.before(noise, features)
        first = self.steps + 1 - noise.shape[2]
        if not 0 <= first < self.steps:
            raise HoneError(f"a hook returned noise for {noise.shape[2] - 1} steps; this chain has 1 to {self.steps}.")
        drawn = self.drawn_steps(generators, batch, k, first).flatten(0, 1).to(device)
        noise = noise.flatten(0, 1)
        given = self.field.condition(features)[torch.arange(batch, device=device).repeat_interleave(k)]

        x = previous = noise[:, 0] if first else self.start(noise[:, 0])
        states, marks = [x] * (first + 1), [torch.full((len(x),), SKIPPED, device=device)] * (first + 1)
        active = torch.arange(len(x), device=device)
        during = hooks.during
        for s in range(first, self.steps):
            step, noisy = torch.full_like(active, s), drawn[active, s]
            mean, settled = self.mean(x[active], previous[active], step, noisy, given[active])
            kicks = (self.std(step) * noisy)[:, None, None] * self.explored * noise[active, s - first + 1]
            moved = torch.where(settled[:, None, None], self.end(x[active], mean, step), mean + kicks)
            mark = torch.where(settled, STOPPED, torch.where(noisy, DRAWN, RUN))
            marks.append(torch.full((len(x),), SKIPPED, device=device).index_copy(0, active, mark))
            previous, x = x, x.index_copy(0, active, moved)
            if during:
                x = during(x.unflatten(0, (batch, k)), (s + 1) / self.steps).flatten(0, 1)
            states.append(x)
            active = active[~settled]
        chain = torch.cat([torch.stack(states, 1).flatten(2), torch.stack(marks, 1)[..., None]], dim=-1)
        return Candidates(*(part.unflatten(0, (batch, k)) for part in (self.space.clamp(x), chain)))

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, (self.steps + 1, math.prod(self.space.shape) + 1))
        states = candidate.sample[..., :-1].unflatten(-1, self.space.shape)
        mask = candidate.sample[:, 1:, -1] == DRAWN
        rows, step = mask.nonzero(as_tuple=True)
        x, previous, following = states[rows, step], states[rows, (step - 1).clamp(min=0)], states[rows, step + 1]
        given = self.field.condition(features)[rows]
        mean, _ = self.mean(x, previous, step, torch.ones_like(step, dtype=torch.bool), given)
        std = self.std(step)[:, None, None]
        density = -0.5 * ((following - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
        density = (density * self.explored).sum((-2, -1))
        terms = density.new_zeros(mask.shape).index_put((rows, step), density)
        return LogProb(terms.sum(-1), terms, mask, "surrogate")

    def evaluations(self, samples: Float[Tensor, "*B S D"]) -> Int64[Tensor, "*B"]:
        """How often the field was evaluated for each sample."""
        return self.evaluations_per_step * (samples[..., -1] > SKIPPED).sum(-1)

    def settled(self, samples: Float[Tensor, "*B S D"]) -> Bool[Tensor, "*B"]:
        """Which sampled chains stopped by their residual; the others used all their steps."""
        return (samples[..., -1] == STOPPED).any(-1)
