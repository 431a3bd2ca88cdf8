"""What every policy of ours that learns has in common: an encoder, a head, and the verbs LeRobot users know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb, PolicyState
from hone.policies.heads.base import NO_HOOKS, Head, SamplingHooks
from hone.policies.pretrained import CONFIG_NAME, read_config, read_weights, write_folder
from hone.specs import Spec
from hone.types import Observation


@dataclass(frozen=True)
class Augmentation:
    """Noise on the inputs during cloning. The policy learns to come back to the demonstrated path."""

    jitter: float = 0.0
    """Standard deviation of Gaussian noise on normalised proprioception and object poses (so in units of their own
    standard deviation in the demonstrations)."""
    image_shift: int = 0
    """Largest random shift of each camera image, in pixels."""

    def __post_init__(self) -> None:
        if self.jitter < 0 or self.image_shift < 0:
            raise HoneError(
                f"augmentation jitter {self.jitter} and image_shift {self.image_shift} must not be negative."
            )


@runtime_checkable
class PolicyConfig(Protocol):
    """The frozen dataclass beside each policy."""

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> PolicyConfig:
        """The inverse of `to_json`; raises `HoneError` about `where` the data came from."""
        ...

    def build(self, seed: int = 0) -> LearnedPolicy:
        """A policy with fresh weights, initialised from `seed`."""
        ...


ConfigT = TypeVar("ConfigT", bound=PolicyConfig)
PolicyT = TypeVar("PolicyT", bound="LearnedPolicy")


class LearnedPolicy(nn.Module, ABC, Generic[ConfigT]):
    """An encoder (every module but the head) that makes `Features`, and a `Head` that decodes them.

    Memoryless: its state is `None`. Everything in `Features` is fixed while `train_encoder` is false, so features
    stored at rollout time can be reused in the update.
    """

    name: ClassVar[str]
    """Under which `POLICIES` lists it and its folder names it."""
    config_class: ClassVar[type[PolicyConfig]]

    config: ConfigT
    spec: Spec
    chunk_length: int
    past_length: int = 0
    """Past actions that the head decodes in front of a chunk; proposals are without them."""
    head: Head

    keeps_observations: ClassVar[bool] = False
    """Whether rollouts should store its observations for training, because its features are the larger of the two."""

    def __init__(self) -> None:
        super().__init__()
        self.features_version = 0
        """Put into `Features.version`. Whoever updates the encoder counts it up, so that stale features are
        noticed."""
        self._train_encoder = True
        self._queue: deque[Tensor] = deque()

    @abstractmethod
    def encode(
        self,
        observation: Observation,
        *,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Features:
        """Features of an observation. `augmentation`, in cloning only, needs a `generator`."""

    @abstractmethod
    def fit_normalization(self, observation: Observation) -> None:
        """Take the normalisation statistics from the observations of all demonstrations (images are not needed)."""

    def propose(
        self,
        features: Features,
        state: PolicyState,
        k: int,
        generators: Sequence[torch.Generator] | None,
        *,
        hooks: SamplingHooks = NO_HOOKS,
    ) -> tuple[Candidates, PolicyState]:
        """Candidates are on the CPU, where they are executed and stored, whatever the device."""
        whole = self.head.sample(features, k, generators, hooks)
        return Candidates(whole.chunks[:, :, self.past_length :].cpu(), whole.samples.cpu()), state

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        """On the CPU too, where advantages are."""
        scored = self.head.log_prob(features, Candidate(candidate.chunk, candidate.sample.to(self.device)))
        return LogProb(scored.total.cpu(), scored.terms.cpu(), scored.mask.cpu(), scored.kind)

    def initial_state(self, num_rows: int) -> PolicyState:
        return None

    @property
    def follows_hints(self) -> bool:
        """Whether its features keep a hint apart from the rest, so that `with_hints` can change it."""
        return False

    def with_hints(self, features: Features, hints: Sequence[str]) -> Features:
        """Stored features as they would be if each row had this hint ("": none), where a policy keeps them apart."""
        raise HoneError(
            f"the features of this '{self.name}' policy mix the hint with the rest; keep observations and encode them "
            "with other hints, or use a small policy with follows_hints."
        )

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def privileged(self) -> bool:
        """Whether it sees object poses that no real robot has."""
        return self.spec.state_tokens != "none"

    @property
    def exploration(self) -> float:
        """Scale of the sampling noise; settable, saved with the weights."""
        return self.head.exploration

    @exploration.setter
    def exploration(self, value: float) -> None:
        self.head.exploration = value

    @property
    def train_encoder(self) -> bool:
        """Whether the encoder learns too. True at first, for cloning; reinforcement learning may freeze it."""
        return self._train_encoder

    @train_encoder.setter
    def train_encoder(self, value: bool) -> None:
        self._train_encoder = value
        for parameter in self.encoder_parameters():
            parameter.requires_grad_(value)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Every parameter outside the head."""
        in_head = {id(parameter) for parameter in self.head.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in in_head]

    def trainable_parameters(self) -> list[nn.Parameter]:
        """What an optimiser should get: the head, and the encoder if `train_encoder`."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` (statistics inside) to `folder`, never half."""
        write_folder(Path(folder), self.name, self.config.to_json(), self)

    @classmethod
    def from_pretrained(cls: type[PolicyT], folder: str | Path) -> PolicyT:
        """Read back what `save_pretrained` wrote. `hone.policies.load_policy` finds the class by itself."""
        folder = Path(folder)
        name, data = read_config(folder)
        if name != cls.name:
            raise HoneError(f"{folder} holds a '{name}' policy, not a '{cls.name}' one; use hone.policies.load_policy.")
        policy = cls.config_class.from_json(data, str(folder / CONFIG_NAME)).build()
        assert isinstance(policy, cls)
        policy._read(folder)
        return policy

    def _read(self, folder: Path) -> None:
        """Take over the weights that `save_pretrained` wrote."""
        read_weights(folder, self)

    @torch.no_grad()
    def predict_action_chunk(self, observation: Observation) -> Float[Tensor, "B H A"]:
        """The greedy chunk for each row."""
        candidates, _ = self.propose(self.encode(observation), None, 1, None)
        return candidates.chunks[:, 0]

    def select_action(self, observation: Observation) -> Float[Tensor, "B A"]:
        """The next action of each row. Looks at `observation` only when the chunk in hand is used up; see `reset`."""
        if not self._queue:
            self._queue.extend(self.predict_action_chunk(observation).unbind(1))
        if len(self._queue[0]) != len(observation):
            raise HoneError(
                f"{len(observation)} rows came, but {len(self._queue[0])} are under way; call reset() first."
            )
        return self._queue.popleft()

    def reset(self) -> None:
        """Forget the chunk in hand; call it when an episode starts."""
        self._queue.clear()
