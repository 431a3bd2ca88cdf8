"""A Hone policy behind LeRobot's `PreTrainedPolicy`: its batches in, its verbs out."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy  # pyright: ignore[reportMissingImports]
from torch import Tensor

from hone.data.lerobot_format import ACTION, CAMERA_KEYS, STATE, reorient
from hone.errors import HoneError
from hone.lerobot_plugin.configuration_hone import HoneConfig
from hone.types import Observation


class HonePolicy(PreTrainedPolicy):  # type: ignore[misc]
    """Pictures `[B, 3, H, W]` in [0, 1], turned by 180 degrees as LeRobot's LIBERO has them; state `[B, 8]`; "task"."""

    config_class: ClassVar[Any] = HoneConfig
    name: ClassVar[str] = "hone"

    def __init__(self, config: HoneConfig, **_: Any) -> None:
        super().__init__(config)
        config.validate_features()
        self.policy = config.build()
        self._queue: deque[Tensor] = deque()

    def get_optim_params(self) -> list[Tensor]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def reset(self) -> None:
        self._queue.clear()

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """The greedy chunk `[B, H, 7]`."""
        return self.policy.predict_action_chunk(self._observation(batch))

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """The next action `[B, 7]`; looks again when `n_action_steps` of the chunk are used up."""
        if not self._queue:
            self._queue.extend(self.predict_action_chunk(batch)[:, : self.config.n_action_steps].unbind(1))
        return self._queue.popleft()

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Cloning loss of a batch of LeRobot's data loader, with `action [B, H, 7]` and `action_is_pad [B, H]`."""
        actions = batch[ACTION]
        padded = batch.get("action_is_pad")
        real = torch.ones(actions.shape[:2], dtype=torch.bool) if padded is None else ~padded
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        loss = self.policy.head.loss(self.policy.encode(self._observation(batch)), actions, real, generator)
        return loss, {"loss": float(loss)}

    def _observation(self, batch: dict[str, Any]) -> Observation:
        state = batch[STATE].reshape(-1, batch[STATE].shape[-1])
        tasks = batch.get("task")
        if tasks is None:
            raise HoneError("the batch has no 'task'; Hone's policies are told what to do in words.")
        told = (tasks,) * len(state) if isinstance(tasks, str) else tuple(tasks)
        cameras = [self._pictures(batch[CAMERA_KEYS[camera]]) for camera in self.policy.spec.cameras]
        return Observation(
            proprio=state.float().cpu().numpy(),
            instructions=told,
            images=np.ascontiguousarray(np.stack(cameras, axis=1)) if cameras else None,
        )

    def _pictures(self, pictures: Tensor) -> np.ndarray:
        """uint8 `[B, S, S, 3]` as the policy has them: its size, its orientation."""
        size = self.policy.spec.image_size
        if pictures.shape[-2:] != (size, size):
            pictures = torch.nn.functional.interpolate(pictures.float(), (size, size), mode="area")
        turned = (pictures * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return reorient(turned, "rotated_180", self.policy.spec.image_orientation)
