"""The arms of the ladder: one start for all, measured once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.policies.small import SmallPolicyConfig
from hone.training.behavior_cloning import BehaviorCloningConfig
from hone.training.improve import ImproveConfig
from hone.training.ladder import Row, run_arm
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

    other = replace(ROW, practice=replace(TINY, clone=BehaviorCloningConfig(steps=6)))
    with pytest.raises(HoneError, match="other settings"):
        run_arm(other, "credit", 0, tmp_path)
    weights = tmp_path / "start-0" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(HoneError, match=r"other settings \(weights\)"):  # measured, but not this policy
        run_arm(ROW, "credit", 0, tmp_path)


def test_an_unknown_arm_is_refused(tmp_path: Path):
    with pytest.raises(HoneError, match="grpo_binary"):
        run_arm(ROW, "grpo", 0, tmp_path)
