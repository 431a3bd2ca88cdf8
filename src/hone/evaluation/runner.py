"""Runs a policy from stated placements and returns every episode with its protocol card and its cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from hone.evaluation.protocol import HELD_STEPS, ProtocolCard
from hone.evaluation.results import Cost, EpisodeResult, EvaluationResult, new_result
from hone.seeding import derive_seed
from hone.specs import Spec
from hone.training.rollout import EpisodeRequest, Trajectory
from hone.training.workers import RolloutPool
from hone.types import Placement, Task

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
    pool: RolloutPool,
    policy: Any,
    setup: Setup,
    card: Callable[[Setup], ProtocolCard],
    *,
    policy_name: str = "",
    hold: bool = True,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> EvaluationResult:
    """Run the whole setup with `policy`, whose weights the pool sends to its workers.

    `card` makes the protocol card of a setup (see `protocol_card`); `hold` also looks whether success outlasts the
    gripper's release.
    """
    started = time.monotonic()
    trajectories = pool.collect(setup.requests(), hold_steps=HELD_STEPS if hold else 0, on_episode=on_episode)
    episodes = [
        EpisodeResult(
            task=t.request.task.name,
            placement=t.request.placement,
            status=t.status,
            held=(t.held if t.success else False) if hold else None,
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
    )
    return new_result(episodes, card(setup), cost, policy_name)


def protocol_card(setup: Setup, env_config: Any, policy: Any) -> ProtocolCard:
    """The card of an evaluation of `policy` in environments of `env_config` (a `LiberoConfig`)."""
    spec = policy.spec
    return ProtocolCard(
        suite=setup.tasks[0].suite,
        tasks=tuple(task.name for task in setup.tasks),
        placement_kind=setup.placement_kind,
        placements=setup.placements,
        step_cap=env_config.cap(setup.tasks[0].suite),
        executed_chunk_length=policy.chunk_length,
        asset_pack=env_config.asset_label,
        physics_profile=env_config.physics,
        render_profile=env_config.render,
        fixture_table="as composed under seed 0",
        cameras=spec.cameras,
        image_size=spec.image_size,
        image_orientation=spec.image_orientation,
        text_encoder=getattr(policy, "text_encoder_name", "unknown"),
        decoding=setup.decoding,
        privilege=_privilege(spec),
        instruction=setup.instruction,
        wait_steps=env_config.wait_steps,
        seeds=(setup.seed,),
        perturbations=env_config.perturbations,
        safety_limits=getattr(policy, "safety_limits", ""),
    )


def _privilege(spec: Spec) -> str:
    if spec.facts:
        return "facts of the scene (poses, shapes, joints, contacts, force at the hand)"
    return "object poses" if spec.state_tokens != "none" else "none"
