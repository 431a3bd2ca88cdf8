"""Runs a policy from stated placements and returns every episode with its protocol card and its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hone.envs.base import EnvironmentConfig
from hone.evaluation.protocol import ProtocolCard
from hone.evaluation.results import Cost, EpisodeResult, EvaluationResult, new_result
from hone.seeding import derive_seed
from hone.training.pools import Pool
from hone.training.rollout import EpisodeRequest, Trajectory
from hone.training.workers import Planning
from hone.types import Placement, Task

TREES = 3
Instruction = Literal["own", "blank", "other_task"]


@dataclass(frozen=True)
class Setup:
    """What an evaluation is done on: the tasks, the placements of each, and how the policy acts."""

    tasks: tuple[Task, ...]
    placement_kind: Literal["official", "sampled"]
    placements: tuple[int, ...]
    decoding: Literal["greedy", "sampled"] = "greedy"
    instruction: Instruction = "own"
    seed: int = 0

    def requests(self) -> list[EpisodeRequest]:
        """One episode per task and placement. A greedy policy has no noise, so its seed only names the episode."""
        pairs = [(task, index) for task in self.tasks for index in self.placements]
        return [
            EpisodeRequest(
                episode_id=number,
                task=task,
                placement=Placement(self.placement_kind, index),
                seed=derive_seed(self.seed, "evaluation", task.suite, task.index, self.placement_kind, index),
                greedy=self.decoding == "greedy",
                instruction=self._instruction(task),
            )
            for number, (task, index) in enumerate(pairs)
        ]

    def _instruction(self, task: Task) -> str | None:
        if self.instruction == "own":
            return None
        if self.instruction == "blank":
            return ""
        others = [other for other in self.tasks if other != task]
        if not others:
            return None
        return others[task.index % len(others)].instruction


def evaluate(
    pool: Pool,
    policy: Any,
    setup: Setup,
    card: Callable[[Setup], ProtocolCard],
    *,
    policy_name: str = "",
    hold: bool = True,
    planning: Planning | None = None,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> EvaluationResult:
    """Run the whole setup with `policy`, whose weights the pool sends to its workers.

    `card` makes the protocol card of a setup (see `protocol_card`); `hold` also looks whether success outlasts the
    gripper's release, where the environment can tell. With `planning` the policy's decisions are looked ahead of.
    """
    started = time.monotonic()
    protocol = card(setup)
    held = protocol.held_steps if hold else 0
    trajectories = pool.collect(setup.requests(), hold_steps=held, planning=planning, on_episode=on_episode)
    trajectories = _few_trees(trajectories)
    episodes = [
        EpisodeResult(
            task=t.request.task.name,
            placement=t.request.placement,
            status=t.status,
            held=(t.held if t.success else False) if held else None,
            steps=t.steps,
            decisions=t.decisions,
            seed=t.request.seed,
            report=t.report,
        )
        for t in trajectories
    ]
    cost = Cost(
        env_steps=sum(t.steps for t in trajectories),
        decoder_evaluations=sum((t.report or {}).get("decoder_evaluations", t.decisions) for t in trajectories),
        judge_calls=sum((t.report or {}).get("model_calls", 0) for t in trajectories),
        core_seconds=(time.monotonic() - started) * max(pool.num_workers, 1),
        simulator_steps=sum((t.report or {}).get("search", {}).get("simulator_steps", 0) for t in trajectories),
    )
    return new_result(episodes, protocol, cost, policy_name)


def _few_trees(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Search trees are for looking at: those of `TREES` successes and as many failures are kept."""
    left = {True: TREES, False: TREES}
    kept = []
    for trajectory in trajectories:
        search = (trajectory.report or {}).get("search", {})
        if search.get("tree") is not None:
            left[trajectory.success] -= 1
            if left[trajectory.success] < 0:
                bare = (trajectory.report or {}) | {"search": search | {"tree": None}}
                trajectory = replace(trajectory, report=bare)
        kept.append(trajectory)
    return kept


def protocol_card(setup: Setup, env_config: EnvironmentConfig, policy: Any, sampling: str = "") -> ProtocolCard:
    """The card of an evaluation of `policy` in environments of `env_config`.

    `sampling` says what was chosen of how it draws chunks (`hone.policies.sampling.Sampling.label`).
    """
    spec = policy.spec
    return ProtocolCard(
        suite=setup.tasks[0].suite,
        tasks=tuple(task.name for task in setup.tasks),
        placement_kind=setup.placement_kind,
        placements=setup.placements,
        step_cap=env_config.cap(setup.tasks[0].suite),
        executed_chunk_length=policy.chunk_length,
        asset_pack=env_config.asset_label,
        cameras=spec.cameras,
        image_size=spec.image_size,
        image_orientation=spec.image_orientation,
        text_encoder=getattr(policy, "text_encoder_name", "unknown"),
        decoding=setup.decoding,
        privilege=spec.privilege,
        instruction=setup.instruction,
        seeds=(setup.seed,),
        safety_limits=getattr(policy, "safety_limits", ""),
        sampling=sampling,
        **env_config.protocol(),
    )
