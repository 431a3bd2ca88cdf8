"""GRPO for policies that act in chunks: a few clipped epochs on one batch of decisions, steered by the KL they cause.

Group Relative Policy Optimization (DeepSeekMath, arXiv:2402.03300) without its reference model. Departures:
1. no KL penalty and no reference model: the distance to the policy that *collected* the batch is kept by the clip and
   by the learning rate, which is adapted so that one update moves the policy by about `target_kl`;
2. asymmetric clip, and groups without variance are dropped (DAPO, arXiv:2503.14476);
3. one ratio per chunk, from the joint density of all its noise dimensions, not one per token;
4. an update that runs away (KL beyond `runaway_factor` targets, or not a number) is rolled back to its last good epoch.
See docs/algorithms/grpo.md for every metric.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from hone.errors import HoneError
from hone.policies.base import Candidate, Features, LogProb
from hone.training.decisions import DecisionBatch, LearningHooks
from hone.training.losses import clipped_surrogate, kl_k1, kl_k3
from hone.training.optimizer_state import flatten_optimizer, restore_optimizer
from hone.types import Observation

log = logging.getLogger(__name__)


@runtime_checkable
class TrainablePolicy(Protocol):
    """What GRPO needs of a policy. `features_version` is counted up by every update that changes the encoder."""

    features_version: int

    @property
    def train_encoder(self) -> bool: ...

    def encode(self, observation: Observation) -> Features: ...

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb: ...

    def trainable_parameters(self) -> Iterable[nn.Parameter]: ...


@dataclass(frozen=True)
class GRPOConfig:
    """How one batch of decisions changes the policy. The defaults were chosen on LIBERO-Object; see LOG.md."""

    epochs: int = 4
    """Passes over the batch. The clip stops decisions that have moved enough, so extra passes are safe and cheap.
    0: no policy gradient at all (a control)."""
    minibatches: int = 1
    """Optimizer steps per epoch. 1: the whole batch per step."""
    micro_batch: int = 1024
    """Decisions per forward pass; gradients add up. Changes memory, never the result (up to rounding)."""
    clip_low: float = 0.2
    """A ratio below 1 - clip_low is not pushed further down."""
    clip_high: float = 0.28
    """A ratio above 1 + clip_high is not pushed further up; wider than clip_low, so that rare good chunks can grow."""
    dual_clip: float | None = None
    """Where the advantage is negative, a ratio above this no longer adds to the gradient (e.g. 3). None: off."""
    learning_rate: float = 5e-5
    """Where the learning rate starts; the KL then steers it."""
    target_kl: float = 0.5
    """How far one update should move the policy: KL in nats of the joint chunk density, old to new."""
    kl_band: float = 1.5
    """The learning rate is left alone while the KL is within [target / kl_band, target * kl_band]."""
    adapt_factor: float = 1.5
    """Outside the band the learning rate is multiplied or divided by this."""
    runaway_factor: float = 3.0
    """A KL beyond runaway_factor * target_kl (or one that is not a number) ends the update and rolls it back to its
    last good epoch."""
    runaway_cut: float = 0.3
    """After a runaway the learning rate is multiplied by this."""
    min_learning_rate: float = 1e-7
    """Lower limit of the adapted learning rate."""
    max_learning_rate: float = 1e-3
    """Upper limit of the adapted learning rate."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""

    def __post_init__(self) -> None:
        positive = {
            "minibatches": self.minibatches,
            "micro_batch": self.micro_batch,
            "target_kl": self.target_kl,
            "min_learning_rate": self.min_learning_rate,
            "max_grad_norm": self.max_grad_norm,
        }
        for name, value in positive.items():
            if not value > 0:
                raise HoneError(f"GRPO {name} is {value}; it must be positive.")
        above_one = {
            "kl_band": self.kl_band,
            "adapt_factor": self.adapt_factor,
            "runaway_factor": self.runaway_factor,
            "dual_clip": 2.0 if self.dual_clip is None else self.dual_clip,
        }
        for name, value in above_one.items():
            if not value > 1:
                raise HoneError(f"GRPO {name} is {value}; it must be greater than 1.")
        if self.epochs < 0:
            raise HoneError(f"GRPO epochs is {self.epochs}; it must not be negative.")
        if not (0 < self.clip_low < 1 and self.clip_high > 0):
            raise HoneError(
                f"GRPO clip range is (1 - {self.clip_low}, 1 + {self.clip_high}); "
                "clip_low must be in (0, 1) and clip_high > 0."
            )
        if not 0 < self.runaway_cut < 1:
            raise HoneError(f"GRPO runaway_cut is {self.runaway_cut}; it must be in (0, 1).")
        if not self.min_learning_rate <= self.learning_rate <= self.max_learning_rate:
            raise HoneError(
                f"GRPO learning_rate {self.learning_rate} is outside "
                f"[min_learning_rate {self.min_learning_rate}, max_learning_rate {self.max_learning_rate}]."
            )


def adapt_learning_rate(learning_rate: float, kl: float, config: GRPOConfig) -> float:
    """The next learning rate, given the KL the last update caused.

    With Adam the step is proportional to the learning rate and the KL to its square, so a factor of 1.5 moves the KL by
    2.25: two steps inside the default band [1/1.5, 1.5].
    """
    if not kl <= config.runaway_factor * config.target_kl:  # also when the KL is NaN
        learning_rate *= config.runaway_cut
    elif kl > config.target_kl * config.kl_band:
        learning_rate /= config.adapt_factor
    elif kl < config.target_kl / config.kl_band:
        learning_rate *= config.adapt_factor
    return min(max(learning_rate, config.min_learning_rate), config.max_learning_rate)


class GRPO:
    """Holds the optimizer and the learning rate; the policy it improves is the caller's."""

    def __init__(self, policy: TrainablePolicy, config: GRPOConfig, hooks: LearningHooks | None = None) -> None:
        self.policy = policy
        self.config = config
        self.hooks = hooks or LearningHooks()
        self.parameters = list(policy.trainable_parameters())
        if not self.parameters:
            raise HoneError("the policy has no trainable parameters; unfreeze its head or its encoder before GRPO.")
        self.learning_rate = config.learning_rate
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=0.0)

    def update(self, batch: DecisionBatch, generator: torch.Generator) -> dict[str, float]:
        """Improve the policy on one batch; `generator` shuffles. docs/algorithms/grpo.md explains the metrics."""
        config = self.config
        for transform in self.hooks.batch:
            batch = transform(batch)
        for term in self.hooks.advantage:
            batch = replace(batch, advantages=batch.advantages + term(batch))
        self._check_inputs(batch)
        live = torch.nonzero(batch.weights > 0).flatten()
        metrics = {
            "decisions": float(len(batch)),
            "live_decisions": float(len(live)),
            "learning_rate": self.learning_rate,
        }
        if len(live) == 0 or config.epochs == 0:  # every group dead: nothing to learn, and no KL to steer by
            return {**metrics, **_NOTHING_LEARNED}
        # Weights of one optimizer step sum to one on average, however the batch is split.
        scale = config.minibatches / batch.weights.sum()
        batch = replace(batch, weights=batch.weights * scale)
        mismatch, kl, kl_1 = self._distance(batch)
        if not np.isfinite(mismatch):
            raise FloatingPointError("the policy's log-probs are not finite before the update; its weights are broken")

        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        # Kept after every good epoch, so that one bad step can never destroy the policy.
        good, epochs, steps = self._save(), 0, []
        for _ in range(config.epochs):
            order = live[torch.randperm(len(live), generator=generator)]
            for minibatch in order.tensor_split(config.minibatches):
                steps.append(self._step(batch, minibatch))
            _, kl, kl_1 = self._distance(batch)
            if not kl <= config.runaway_factor * config.target_kl:  # also when the KL is NaN
                break
            good, epochs = self._save(), epochs + 1

        rolled_back = epochs < config.epochs
        if rolled_back:
            self._restore(good)
            log.warning(
                "GRPO update ran away (KL %.3g, target %.3g): back to epoch %d of %d, learning rate cut to %.2g",
                *(kl, config.target_kl, epochs, config.epochs, self.learning_rate * config.runaway_cut),
            )
        if self.policy.train_encoder:
            self.policy.features_version += 1
        self.learning_rate = adapt_learning_rate(self.learning_rate, kl, config)
        return {
            **metrics,
            "loss": float(np.mean([step["loss"] for step in steps])),
            "clip_fraction": float(np.mean([step["clip_fraction"] for step in steps])),
            "grad_norm": float(np.mean([step["grad_norm"] for step in steps])),
            "kl": kl,
            "kl_k1": kl_1,
            "log_prob_mismatch": mismatch,
            "epochs": float(epochs),
            "rolled_back": float(rolled_back),
        }

    def _step(self, batch: DecisionBatch, minibatch: Int[Tensor, " n"]) -> dict[str, float]:
        """One optimizer step on the decisions `minibatch`, accumulated over micro-batches."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, clip_fraction = 0.0, 0.0
        for index in minibatch.split(self.config.micro_batch):
            micro = batch.rows(index)
            features = self._features(micro)
            log_prob = self.policy.log_prob(features, micro.candidate)
            surrogate = clipped_surrogate(
                log_prob.total,
                micro.old_log_prob,
                micro.advantages,
                micro.weights,
                clip_low=self.config.clip_low,
                clip_high=self.config.clip_high,
                dual_clip=self.config.dual_clip,
            )
            total = surrogate.loss
            for term in self.hooks.loss:
                total = total + (micro.weights * term(micro, features, log_prob)).sum()
            total.backward()
            loss += float(total.detach())
            clip_fraction += float(surrogate.clip_fraction)
        grad_norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))
        self.optimizer.step()
        return {"loss": loss, "clip_fraction": clip_fraction, "grad_norm": grad_norm}

    @torch.no_grad()
    def _distance(self, batch: DecisionBatch) -> tuple[float, float, float]:
        """How far the policy is from the one that collected: largest |log ratio|, mean k3, mean k1."""
        parts = [batch.rows(index) for index in torch.arange(len(batch)).split(self.config.micro_batch)]
        log_prob = torch.cat([self.policy.log_prob(self._features(part), part.candidate).total for part in parts])
        new, old = log_prob.double(), batch.old_log_prob.double()
        return float((new - old).abs().max()), float(kl_k3(new, old).mean()), float(kl_k1(new, old).mean())

    def _check_inputs(self, batch: DecisionBatch) -> None:
        """Stored features are only good while the encoder that made them stays as it was."""
        if not isinstance(batch.inputs, Features):
            return
        if self.policy.train_encoder:
            raise HoneError("the encoder is to be trained, but the batch holds stored features; store observations.")
        if batch.inputs.version != self.policy.features_version:
            raise HoneError(
                f"the batch's features are of encoder version {batch.inputs.version}, the policy is at version "
                f"{self.policy.features_version}; encode the observations again."
            )

    def _features(self, batch: DecisionBatch) -> Features:
        return batch.inputs if isinstance(batch.inputs, Features) else self.policy.encode(batch.inputs)

    def _save(self) -> tuple[list[Tensor], dict[str, Tensor]]:
        return [parameter.detach().clone() for parameter in self.parameters], flatten_optimizer(self.optimizer)

    def _restore(self, saved: tuple[list[Tensor], dict[str, Tensor]]) -> None:
        weights, moments = saved
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, weights, strict=True):
                parameter.copy_(weight)
        restore_optimizer(self.optimizer, moments)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs besides the policy: optimizer tensors and the adapted learning rate."""
        return {"tensors": flatten_optimizer(self.optimizer), "learning_rate": self.learning_rate}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        restore_optimizer(self.optimizer, state["tensors"])
        self.learning_rate = float(state["learning_rate"])


_NOTHING_LEARNED = {
    "loss": 0.0,
    "clip_fraction": 0.0,
    "grad_norm": 0.0,
    "kl": 0.0,
    "kl_k1": 0.0,
    "log_prob_mismatch": 0.0,
    "epochs": 0.0,
    "rolled_back": 0.0,
}
