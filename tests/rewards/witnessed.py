"""Episodes with facts, without a simulator: the brick that is put into the bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scenes import brick_and_bin, step

from hone.envs.libero.facts import Facts
from hone.language.plan import Plan, Subgoal
from hone.primitives.expert import Expert
from hone.rewards import SynthesizedReward
from hone.rewards.revision import Revision
from hone.types import Status, Task

TASK = Task("toys", 0, "brick", "put the brick in the bin")
PLAN = Plan(TASK.instruction, (Subgoal("pick", "brick"), Subgoal("place_in", "brick", "bin_inside")), "told")
LOOK = 8


@dataclass(frozen=True)
class Asked:
    seed: int = 0
    task: Task = TASK


@dataclass(frozen=True)
class Witnessed:
    """A trajectory whose success flag must not be looked at."""

    facts: tuple[Facts, ...]
    request: Asked = field(default_factory=Asked)
    status: Status = "failure"
    steps: int = 100

    @property
    def success(self) -> bool:
        raise AssertionError("the reward looked at the success flag")

    @property
    def executed(self) -> np.ndarray:
        return np.full(len(self.facts) - 1, LOOK)


def planner(instruction: str, facts: Facts) -> Plan:
    return PLAN


def touching(facts: Facts) -> Facts:
    """With the contacts that the toy scene leaves out: of a brick that is held, and of one that lies in the bin."""
    brick, bin_ = facts.objects["brick"].position, facts.objects["bin"].position
    held = 0.039 < facts.gripper_width_m < 0.041 and np.linalg.norm(brick - facts.eef.position) < 0.03
    pairs = set()
    if held:
        pairs.add(frozenset(("brick", "robot")))
    if brick[2] < 0.045 and np.linalg.norm(brick[:2] - bin_[:2]) < 0.06:
        pairs.add(frozenset(("brick", "bin")))
    return replace(facts, contacts=frozenset(pairs))


def expert_episode(brick_y: float = -0.1, slippery: bool = False) -> tuple[Facts, ...]:
    """Facts every eight control steps of the expert, and those at the end."""
    facts = brick_and_bin(brick_y=brick_y)
    expert, looks, taken = Expert(), [facts], 0
    while (command := expert.act(facts)) is not None:
        facts = touching(step(facts, command.action, slippery))
        taken += 1
        if taken % LOOK == 0:
            looks.append(facts)
    return (*looks, facts)


def idle_episode() -> tuple[Facts, ...]:
    return (brick_and_bin(),) * 6


def practised(reward: SynthesizedReward, trajectories: Sequence[Witnessed]) -> list[Revision]:
    """One round: what the training loop does with a reward."""
    return reward.update(trajectories, reward.judge_all(trajectories))
