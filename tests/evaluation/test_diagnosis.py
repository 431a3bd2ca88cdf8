"""A planted fault must be named, and a policy without one left in peace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hone.envs.base import StepResult
from hone.evaluation import diagnosis
from hone.evaluation.diagnosis import VARIANTS, Finding, check_episodes, check_files
from hone.policies.blackbox import BlackBoxPolicy
from hone.policies.inputs import Normalizer
from hone.specs import Spec
from hone.training.rollout import EpisodeRequest
from hone.types import Observation, Placement, Task

TASK = Task("toy", 0, "close", "close the gripper where the light is")
CAP = 10
REQUESTS = [EpisodeRequest(i, TASK, Placement("sampled", i), seed=i, greedy=True) for i in range(6)]


class Lamp:
    """The lamp shines at the top left of the picture. Solved by closing the gripper for `needed` steps on end."""

    def __init__(self, needed: int, cap: int = 15) -> None:
        self.spec, self.num_slots = Spec(image_size=8), 6
        self._needed, self._cap = needed, cap
        self._closed, self._steps = np.zeros(6, np.int32), np.zeros(6, np.int32)

    def reset(self, slots, tasks, placements):
        self._closed[slots] = self._steps[slots] = 0

    def step(self, slots, chunks, *, stop_at_success=None) -> StepResult:
        taken = np.zeros(len(slots), np.int32)
        for row, slot in enumerate(slots):
            for action in chunks[row]:
                if self._steps[slot] == self._cap or self._closed[slot] == self._needed:
                    break
                taken[row] += 1
                self._steps[slot] += 1
                self._closed[slot] = self._closed[slot] + 1 if action[6] > 0 else 0
        won = self._closed[slots] == self._needed
        return StepResult(taken, won, won, (self._steps[slots] == self._cap) & ~won, np.zeros(len(slots), bool))

    def observe(self, slots) -> Observation:
        images = np.zeros((len(slots), 2, 8, 8, 3), np.uint8)
        images[:, :, 0, 0] = 255
        return Observation(np.zeros((len(slots), 8), np.float32), (TASK.instruction,) * len(slots), images)

    def _not_needed(self, *_: Any) -> Any:
        raise NotImplementedError

    render = hold = snapshot = restore = facts = close = _not_needed


def lamp(needed: int = 4) -> Any:
    return Lamp(needed)


def policy(row: int = 0, column: int = 0, sign: float = 1.0, motion: float = 0.1) -> BlackBoxPolicy:
    """Closes the gripper if it sees the lamp at this corner of the picture."""

    def act(observation: Observation) -> np.ndarray:
        assert observation.images is not None
        chunk = np.full((len(observation), 2, 7), motion, np.float32)
        seen = observation.images[:, 0, row, column, 0] > 128
        chunk[..., 6] = np.where(seen, sign, 0.0)[:, None]
        return chunk

    return BlackBoxPolicy(act, 2, Spec(image_size=8))


def failed(findings: list[Finding]) -> set[str]:
    return {finding.name for finding in findings if not finding.ok}


@pytest.mark.parametrize(
    ("broken", "culprit"),
    [(policy(-1, -1), VARIANTS[0]), (policy(-1, 0), VARIANTS[1]), (policy(sign=-1.0), VARIANTS[2])],
    ids=lambda value: value.name if isinstance(value, diagnosis.Variant) else "",
)
def test_the_convention_that_was_turned_round_is_named(broken, culprit):
    findings = check_episodes(lamp(), broken, REQUESTS, CAP)
    assert failed(findings) == {"episodes", culprit.name}
    named = next(finding for finding in findings if finding.name == culprit.name)
    assert named.found == "6 of 6 succeed: better than as it is"
    assert findings[0].todo == culprit.todo


def test_a_policy_that_works_is_not_tried_turned():
    findings = check_episodes(lamp(), policy(), REQUESTS, CAP)
    assert failed(findings) == set()
    assert [finding.name for finding in findings] == ["episodes", "step cap", "action scale"]


def test_slow_saturated_and_hopeless_policies():
    assert failed(check_episodes(lamp(needed=12), policy(), REQUESTS, CAP)) == {"episodes", "step cap"}
    assert "action scale" in failed(check_episodes(lamp(), policy(motion=1.0), REQUESTS, CAP))
    hopeless = check_episodes(lamp(needed=99), policy(), REQUESTS, CAP)
    assert "no single convention" in hopeless[0].todo


def test_statistics_of_other_units_and_bad_weights_are_found():
    module: Any = torch.nn.Module()
    module.normalizer, module.layer = Normalizer([0.01] * 3), torch.nn.Linear(2, 2)
    module.normalizer.fit(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
    assert failed(check_files(module)) == set()
    module.normalizer.mean.mul_(0).add_(450.0)  # millimetres
    with torch.no_grad():
        module.layer.weight[0, 0] = float("nan")
    assert failed(check_files(module)) == {"weights", "statistics of normalizer"}
    module.normalizer.std.fill_(float("inf"))
    assert any(finding.found == "not finite" for finding in check_files(module))
