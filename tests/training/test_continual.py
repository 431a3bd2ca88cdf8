"""Task after task, with a stand-in for practice: who starts from what, and who acts on what was learned before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_policies import save_untrained

from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.evaluation.run_folder import RunFolder
from hone.memory import Memory, weights_of
from hone.policies import load_policy
from hone.policies.small import SmallPolicyConfig
from hone.seeding import torch_generator
from hone.training import continual
from hone.training.checkpoint import save_checkpoint
from hone.training.continual import ARMS, learn_in_turn, settings
from hone.training.improve import ImproveConfig
from hone.training.warm_start import warm_start

TASKS = (0, 1, 2)
CURVES = ((0.0, 0.8), (0.2, 0.6), (0.4, 1.0))


def stand_in(started: list[dict[str, torch.Tensor]]):
    """Practice that raises one bias by the task's number + 1, and whose curve is known."""

    def practise(config: ImproveConfig, _: object) -> dict[str, int]:
        (task,) = config.chosen_tasks
        run = RunFolder(config.output)
        if not run.evaluations.exists():
            assert config.policy is not None
            policy = load_policy(config.policy)
            policy.train_encoder = False
            base = weights_of(policy)
            if config.memory is not None:
                generator = torch_generator(config.seed, "retrieval")
                warm_start(Memory.open(config.memory), policy, [task], config.retrieval, generator)
            started.append(weights_of(policy))
            with torch.no_grad():
                policy.trainable_parameters()[-1].add_(0.01 * (task.index + 1))
            save_checkpoint(run.path, 1, policy, tensors={}, state={})
            rows = [{"per_task": {task.name: {"success_rate": rate}}} for rate in CURVES[task.index]]
            run.evaluations.write_text("".join(json.dumps(row) + "\n" for row in rows))
            if config.memory is not None:
                Memory.open(config.memory).remember(policy, base, task, success=1.0, iterations=1)
        return {"rollouts": 4}

    return practise


@pytest.fixture
def practice(tmp_path: Path) -> ImproveConfig:
    return ImproveConfig(tasks=TASKS, policy=save_untrained(SmallPolicyConfig(inputs="state"), tmp_path / "start"))


def last_bias(policy_or_weights) -> float:
    weights = policy_or_weights if isinstance(policy_or_weights, dict) else weights_of(policy_or_weights)
    return float(list(weights.values())[-1].mean())


@pytest.mark.parametrize("arm", ARMS)
def test_each_arm_starts_and_acts_from_what_it_has(
    arm: str, practice: ImproveConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    started, acting = [], {}
    monkeypatch.setattr(continual, "improve", stand_in(started))

    def success(config, arm, folder, turn, task):
        policy = continual._acting(config, arm, folder, turn, task)
        acting[turn, task.index] = last_bias(policy) - base
        return 0.5

    monkeypatch.setattr(continual, "success", success)
    assert practice.policy is not None
    base = last_bias(load_policy(practice.policy))
    line = learn_in_turn(practice, arm, tmp_path / arm)
    first, second, third = (last_bias(weights) - base for weights in started)
    assert first == pytest.approx(0.0, abs=1e-6)
    if arm == "sequential":
        assert (second, third) == pytest.approx((0.01, 0.03), abs=1e-6)
        assert acting == pytest.approx({(1, 0): 0.03, (2, 0): 0.06, (2, 1): 0.06}, abs=1e-6)
    elif arm == "no_memory":
        assert (second, third) == pytest.approx((0.0, 0.0), abs=1e-6)
        assert acting == pytest.approx(dict.fromkeys(((1, 0), (2, 0), (2, 1)), 0.0), abs=1e-6)
    else:
        assert second == pytest.approx(0.01, abs=1e-6)  # there was only one thing to remember
        assert 0.01 < third < 0.03
        assert 0.01 < acting[1, 0] < 0.03
        shares_equal = acting[1, 0] == pytest.approx(0.02, abs=1e-6)  # (0.01 + 0.03) / 2, of any two
        assert shares_equal == (arm == "random_retrieval")

    # 0.8, 0.6 and 1.0 at best, 0.5 ever after
    assert line["forward_transfer"] == pytest.approx((0.4 + 0.4 + 0.7) / 3)
    assert line["negative_backward_transfer"] == pytest.approx((0.3 + 0.1) / 2)
    assert line["area_under_curve"] == pytest.approx(((0.4 + 1.0) / 3 + (0.4 + 0.5) / 2 + 0.7) / 3)
    assert line["later"] == [[None] * 3, [0.5, None, None], [0.5, 0.5, None]]
    assert line["rollouts"] == 12

    looked = dict(acting)
    assert learn_in_turn(practice, arm, tmp_path / arm) == line  # all is there: nothing is measured again
    assert acting == looked
    assert len(started) == 3


@pytest.mark.sim
@pytest.mark.slow
def test_with_real_practice(practice: ImproveConfig, tmp_path: Path):
    small = replace(
        practice,
        tasks=(0, 1),
        iterations=1,
        groups=1,
        group_size=2,
        workers=0,
        slots=2,
        evaluate_every=1,
        curve_placements=1,
        final_placements=1,
        probe_placements=1,
        train_step_cap=16,
        env=LiberoConfig(step_cap=16),
    )
    line = learn_in_turn(small, "memory", tmp_path / "run")
    assert line["curves"] == [[0.0, 0.0]] * 2
    assert line["later"] == [[None, None], [0.0, None]]
    assert line["rollouts"] == 4
    assert {entry.task for entry in Memory.open(tmp_path / "run" / "memory").store.entries()} == set(line["tasks"])


def test_bad_settings_are_refused(practice: ImproveConfig, tmp_path: Path):
    with pytest.raises(HoneError, match="random_retrieval"):
        learn_in_turn(practice, "randomly", tmp_path / "run")
    for wrong in (replace(practice, tasks=(0,)), replace(practice, policy=None)):
        with pytest.raises(HoneError, match="at least two tasks"):
            learn_in_turn(wrong, "memory", tmp_path / "run")
    assert settings(practice, "memory", tmp_path, 1).memory == tmp_path / "memory"
