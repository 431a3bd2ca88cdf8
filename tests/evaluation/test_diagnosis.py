"""A planted fault must be named, and a policy without one left in peace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hone.envs.base import StepResult
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task as find_task
from hone.evaluation import diagnosis
from hone.evaluation.diagnosis import VARIANTS, Finding, check_episodes, check_files
from hone.policies.blackbox import BlackBoxPolicy
from hone.policies.inputs import PROPRIO_FLOORS, Normalizer
from hone.policies.scripted import ScriptedPolicy
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
    [
        (policy(-1, -1), VARIANTS[0]),
        (policy(-1, 0), VARIANTS[1]),
        (policy(0, -1), VARIANTS[2]),
        (policy(sign=-1.0), VARIANTS[3]),
    ],
    ids=lambda value: value.name if isinstance(value, diagnosis.Variant) else "",
)
def test_the_convention_that_was_turned_round_is_named(broken, culprit):
    findings = check_episodes(lamp(), broken, REQUESTS, CAP)
    assert failed(findings) == {"episodes", culprit.name}
    named = next(finding for finding in findings if finding.name == culprit.name)
    assert named.found == "6 of 6 succeed: better than as it is"
    assert findings[0].todo == culprit.todo


def test_actions_of_another_scale_or_frame_become_deltas():
    proprio = torch.tensor([[0.1, 0.0, 0.3, np.pi - 0.1, 0.0, 0.0, 0.04, -0.04]])
    # 2 cm to the left, then 5 cm up; 0.2 rad beyond the half turn, whose vector has the other sign; then 0.25 rad back.
    poses = torch.tensor([[0.1, 0.02, 0.3, -(np.pi - 0.1), 0, 0, 1], [0.1, 0.02, 0.35, np.pi - 0.15, 0, 0, -1]])
    deltas = torch.tensor([[0.0, 0.4, 0.0, 0.4, 0, 0, 1], [0, 0, 1.0, -0.5, 0, 0, -1]])
    found = diagnosis.from_poses(poses[None, None].float(), proprio.float())
    torch.testing.assert_close(found, deltas[None, None].float(), atol=1e-4, rtol=0)
    metres = torch.tensor([0.05, 0, -0.025, 0.5, 0, 0, 1]).expand(1, 1, 1, 7)
    assert diagnosis.from_metres(metres, proprio.float()).flatten().tolist() == [1, 0, -0.5, 1, 0, 0, 1]


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


def test_statistics_that_proprioception_cannot_have_are_found():
    module: Any = torch.nn.Module()
    module.normalizer = Normalizer(PROPRIO_FLOORS)
    module.normalizer.mean.copy_(torch.tensor([0.1, 0, 1.2, 1, 0, 0, 0, -1, 0, 0.03, -0.03]))
    module.normalizer.std.copy_(torch.tensor([0.1] * 9 + [0.01] * 2))
    assert failed(check_files(module)) == set()
    module.normalizer.std.fill_(1.0)  # fingers move by 4 cm
    assert failed(check_files(module)) == {"statistics of normalizer"}


@pytest.mark.parametrize(("mean", "named"), [(0.0, set()), (0.7, {"first inputs of normalizer"})])
def test_statistics_of_another_scene_are_found(mean, named):
    class Reader(torch.nn.Module):
        """Reads proprioception, and never closes the gripper."""

        def __init__(self) -> None:
            super().__init__()
            self.normalizer = Normalizer([0.1] * 8)
            self.normalizer.mean.fill_(mean)
            self.normalizer.std.fill_(0.1)
            self._act = BlackBoxPolicy(lambda seen: np.zeros((len(seen), 2, 7), np.float32), 2, Spec(image_size=8))
            self.spec, self.chunk_length = self._act.spec, 2
            self.propose, self.initial_state = self._act.propose, self._act.initial_state
            self.log_prob = self._act.log_prob

        def encode(self, observation: Observation) -> Any:
            self.normalizer(torch.as_tensor(observation.proprio))
            return self._act.encode(observation)

    reader: Any = Reader()
    assert failed(check_episodes(lamp(), reader, REQUESTS, CAP)) == {"episodes"} | named
    assert not reader.normalizer._forward_hooks


def as_poses(chunks: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
    positions = proprio[:, None, None, :3] + 0.05 * chunks[..., :3]
    turned = [
        Rotation.from_rotvec(0.5 * turn) * Rotation.from_rotvec(pose)
        for turn, pose in zip(chunks[:, 0, 0, 3:6].numpy(), proprio[:, 3:6].numpy(), strict=True)
    ]
    rotations = torch.tensor(np.array([rotation.as_rotvec() for rotation in turned]), dtype=torch.float32)
    return torch.cat([positions, rotations[:, None, None], chunks[..., 6:]], dim=-1)


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "culprit"),
    [(as_poses, "actions taken for absolute poses"), (diagnosis.gripper_negated, "gripper sign negated")],
)
def test_broken_actions_are_named_in_libero(how, culprit):
    """The scripted policy in the place of a trained one: it solves the task, one control step a decision."""
    chosen = find_task("libero_object", 0)
    requests = [EpisodeRequest(i, chosen, Placement("sampled", i), seed=i, greedy=True) for i in range(4)]
    broken: Any = diagnosis.Turned(ScriptedPolicy("skills"), diagnosis.Variant("", "", actions=how))
    env = LiberoConfig(images=False, facts=True, physics="fast", step_cap=330).build(4)
    findings = check_episodes(env, broken, requests, 280)
    env.close()
    assert failed(findings) == {"episodes", culprit}
