"""The arms of the ladder: one start for all, measured once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_policies import save_untrained

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task
from hone.errors import HoneError
from hone.evaluation.progress import SILENT
from hone.exploration.guidance import GuidanceConfig
from hone.policies import load_policy
from hone.policies.small import SmallPolicyConfig
from hone.primitives.expert import Manner
from hone.training import ladder
from hone.training.behavior_cloning import BehaviorCloningConfig
from hone.training.expert_control import Asked, cloned_within
from hone.training.improve import ImproveConfig
from hone.training.ladder import Row, changed, run_arm
from hone.training.proof import Proof

TINY = ImproveConfig(
    demos=1,
    iterations=1,
    groups=1,
    group_size=2,
    workers=0,
    slots=4,
    evaluate_every=1,
    curve_placements=1,
    final_placements=2,
    probe_placements=1,
    train_step_cap=16,
    network=SmallPolicyConfig(inputs="state", follows_hints=True),
    clone=BehaviorCloningConfig(steps=5),
    env=LiberoConfig(step_cap=24),
)
"""One update from a policy that knows nothing: seconds."""
ROW = Row("tiny", "libero_object", (0,), practice=TINY)


@pytest.mark.sim
def test_the_start_is_measured_once_for_all_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    measured = []
    evaluate = Proof.evaluate

    def counting(proof, path, policy, setup, when):
        measured.extend([] if path.exists() else [f"{proof.run.path.name} {when}"])
        return evaluate(proof, path, policy, setup, when)

    monkeypatch.setattr(Proof, "evaluate", counting)
    save_untrained(TINY.network, tmp_path / "start-0")
    trained = run_arm(ROW, "grpo_binary", 0, tmp_path)  # also where no other arm ran before it
    cloned = run_arm(ROW, "cloned", 0, tmp_path)
    run_arm(ROW, "progress", 0, tmp_path)
    assert measured == ["cloned-0 before", "grpo_binary-0 after", "progress-0 after"]
    assert trained["protocol_hash"] == cloned["protocol_hash"]

    original, copy = (
        json.loads((tmp_path / arm / "evaluation_before.json").read_text()) for arm in ("cloned-0", "grpo_binary-0")
    )
    assert copy["policy"] == f"{original['policy']} (measured once for all arms, in cloned-0)"
    assert {**copy, "policy": ""} == {**original, "policy": ""}

    budgets = []

    def asked(folder, tasks, budget, **_):
        budgets.append(budget)
        return load_policy(tmp_path / "start-0"), Asked(3, budget + 10)

    monkeypatch.setattr(ladder, "cloned_within", asked)
    expert = run_arm(ROW, "expert", 0, tmp_path)
    assert budgets == [trained["env_steps"]]
    assert (expert["rollouts"], expert["env_steps"], expert["gain"]["mean"]) == (3, budgets[0] + 10, 0.0)
    assert "control" in expert

    other = replace(ROW, practice=replace(TINY, clone=BehaviorCloningConfig(steps=6)))
    with pytest.raises(HoneError, match="other settings"):
        run_arm(other, "credit", 0, tmp_path)
    weights = tmp_path / "start-0" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(HoneError, match=r"other settings \(weights\)"):  # measured, but not this policy
        run_arm(ROW, "credit", 0, tmp_path)


@pytest.mark.sim
def test_the_expert_acts_for_as_long_as_it_was_given(tmp_path: Path):
    given = {"manner": Manner(), "network": TINY.network, "cloning": TINY.clone, "env": LiberoConfig()}
    given |= {"slots": 2, "seed": 0, "progress": SILENT}
    policy, asked = cloned_within(tmp_path / "policy", [task("libero_object", 0)], 150, **given)
    assert asked.demonstrations == 2  # of about 110 control steps each
    assert 150 <= asked.env_steps < 300
    again, known = cloned_within(tmp_path / "policy", [], 0, **given)  # it is there: nobody is asked
    assert known == asked
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True))


def test_an_arm_says_who_hints_and_the_row_how_often():
    row = replace(TINY, guidance=GuidanceConfig(p_max=0.9, thinks_along=False))
    assert changed(row, "agentic").guidance == replace(row.guidance, hinter="rules")
    assert changed(row, "random_hints").guidance == replace(row.guidance, hinter="random")
    assert changed(row, "credit").guidance.hinter == "none"
    assert changed(row, "grpo_binary") == row


def test_an_unknown_arm_is_refused(tmp_path: Path):
    with pytest.raises(HoneError, match="grpo_binary"):
        run_arm(ROW, "grpo", 0, tmp_path)
