"""Short films of a policy's episodes: what a number cannot show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch

from hone.envs.base import EnvironmentConfig
from hone.evaluation.run_folder import RunFolder, read_json, write_json
from hone.policies.base import Policy
from hone.types import Placement, Task

SIZE = 256
EVERY = 2
"""Control steps between two frames: 10 frames a second at LIBERO's 20 Hz."""


@torch.no_grad()
def film(
    env_config: EnvironmentConfig, policy: Policy, task: Task, placement: Placement
) -> tuple[np.ndarray, bool, int]:
    """Frames `[F, SIZE, C SIZE, 3]` of a greedy episode (the cameras side by side), its success and its length."""
    env = env_config.build(1)
    try:
        env.reset([0], [task], [placement])
        frames, steps = [_frame(env.render([0], SIZE))], 0
        state = policy.initial_state(1)
        while True:
            candidates, state = policy.propose(policy.encode(env.observe([0])), state, 1, None)
            for action in candidates.chunks[0, 0].numpy().astype(np.float32):
                result = env.step([0], action[None, None])
                steps += int(result.steps[0])
                if steps % EVERY == 0 or result.done[0]:
                    frames.append(_frame(env.render([0], SIZE)))
                if result.done[0]:
                    return np.stack(frames), bool(result.terminated[0]), steps
    finally:
        env.close()


def record_videos(
    run: RunFolder,
    env_config: EnvironmentConfig,
    policy: Policy,
    tasks: Sequence[Task],
    placement: Placement,
    stage: Literal["before", "after"],
    on_video: Callable[[], None],
) -> None:
    """Film each task once and list the films in `videos/index.json`; films that are there already are kept."""
    import imageio.v3 as iio  # slow to import

    index = read_json(run.video_index) if run.video_index.exists() else []
    for task in tasks:
        file = f"{task.suite}-{task.index}-{stage}.mp4"
        if not any(row["file"] == file for row in index):
            frames, success, steps = film(env_config, policy, task, placement)
            run.videos.mkdir(parents=True, exist_ok=True)
            fps = max(1, round(env_config.spec.control_rate_hz / EVERY))
            iio.imwrite(run.videos / file, frames, fps=fps, codec="libx264", quality=6, macro_block_size=16)
            index.append(
                {
                    "task": task.name,
                    "stage": stage,
                    "file": file,
                    "success": success,
                    "steps": steps,
                    "placement": f"{placement.kind} {placement.index}",
                }
            )
            write_json(run.video_index, index)
        on_video()


def _frame(pictures: np.ndarray) -> np.ndarray:
    return np.concatenate(list(pictures[0]), axis=1)
