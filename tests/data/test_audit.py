"""Every check of an audit passes on a sound recording, and each is tripped by one that is broken in its way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recordings import PER_TASK, TASKS, recording, track, tracks

from hone.data.audit import audit
from hone.data.audit_statistics import LIBERO_LAG
from hone.data.findings import Finding
from hone.data.tracks import Track


def found(some: list[Track]) -> dict[str, Finding]:
    return {finding.check: finding for finding in audit(recording(some)).findings}


def changed(change: Callable[[Track], dict[str, Any]]) -> list[Track]:
    return [replace(one, **change(one)) for one in tracks()]


def actions(change: Callable[[np.ndarray, Track], object]) -> list[Track]:
    """Every episode, its actions changed in place."""
    result = []
    for one in tracks():
        copy = one.actions.copy()
        change(copy, one)
        result.append(replace(one, actions=copy))
    return result


def test_a_sound_recording_passes_every_check():
    findings = found(tracks())
    assert {check: f.said for check, f in findings.items() if f.level != "pass"} == {}
    assert len(findings) == 19
    assert all(not finding.advice for finding in findings.values())


def _constant(values: np.ndarray, one: Track) -> None:
    values[:, 3] = 0.25


def _spike(values: np.ndarray, one: Track) -> None:
    values[:, 3] *= 1e-3
    values[0, 3] = 0.9 if one.number == 0 else 0.0


def _normalised(values: np.ndarray, one: Track) -> None:
    values[:, :6] *= 3


def _saturated(values: np.ndarray, one: Track) -> None:
    values[:, 0] = np.clip(5 * values[:, 0], -1, 1)


def _resting(values: np.ndarray, one: Track) -> None:
    values[10:14, :6] = 0.0


def _long_rest(values: np.ndarray, one: Track) -> None:
    if one.number == 0:
        values[5:17, :6] = 0.0


def _noisy(values: np.ndarray, one: Track) -> None:
    values[:, 4] = np.random.default_rng(one.number).normal(size=len(values)) * 0.2


def _reversed_hand(values: np.ndarray, one: Track) -> None:
    values[:, 6] *= -1


def _meaningless_hand(values: np.ndarray, one: Track) -> None:
    values[:, 6] = np.where(np.arange(len(values)) // 4 % 2, 1.0, -1.0)


def _late(values: np.ndarray, one: Track) -> None:
    """What was done before the observation lies beside it."""
    values[1:] = values[:-1].copy()


def _aimless(values: np.ndarray, one: Track) -> None:
    values[:, :3] = values[::-1, :3].copy()


@pytest.mark.parametrize(
    ("check", "level", "said", "spoil"),
    [
        ("normalising the actions", "warn", "dimension 3 never changes", _constant),
        ("normalising the actions", "warn", r"dimension 3 reaches \d+ deviations", _spike),
        ("action range", "fail", r"controller takes \[-1, 1\]", _normalised),
        ("saturation", "warn", "dimension 0 is at its extremes", _saturated),
        ("rests", "warn", r"5\.\d% of the steps ask for nothing, 4 in a row", _resting),
        ("rests", "warn", "12 in a row at most", _long_rest),
        ("smoothness", "warn", "step-to-step change 1", _noisy),
        ("gripper", "fail", "reverse of LIBERO's", _reversed_hand),
        ("gripper", "warn", "does not tell which way", _meaningless_hand),
        ("in step", "warn", "follows 0 steps .* after the action beside them", _late),
        ("in step", "warn", "does not go where actions point", _aimless),
    ],
)
def test_broken_actions_are_noticed(check: str, level: str, said: str, spoil: Callable[[np.ndarray, Track], None]):
    finding = found(actions(spoil))[check]
    assert finding.level == level, finding
    assert re.search(said, finding.said), finding.said
    assert finding.advice


def _same_scene(one: Track) -> dict[str, Any]:
    return {"look": track(one.number % len(TASKS)).look}


def _same_pose(one: Track) -> dict[str, Any]:
    assert one.proprio is not None
    proprio = one.proprio.copy()
    proprio[0, :6] = 0.01 * np.random.default_rng(one.number).normal(size=6) + one.number % len(TASKS)
    return {"proprio": proprio}


def _same_way(one: Track) -> dict[str, Any]:
    """Everybody does the same at the same time, a little apart in place."""
    first = track(0)
    assert first.proprio is not None
    offset = 0.002 * np.random.default_rng(one.number).normal(size=8)
    return {"actions": first.actions, "proprio": first.proprio + offset}


def _slow(one: Track) -> dict[str, Any]:
    way = np.sin(np.linspace(0, 0.5, len(one)) + one.number)[:, None]
    return {"actions": np.concatenate([np.repeat(way, 6, axis=1), np.ones((len(one), 1))], axis=1)}


@pytest.mark.parametrize(
    ("check", "level", "said", "spoil"),
    [
        ("task from the first picture", "warn", r"right in 100% of 18 episodes .* \(chance 29%\)", _same_scene),
        ("task from the first pose", "warn", "right in 100%", _same_pose),
        ("actions without pictures", "warn", "100% from time,", _same_way),
        ("copycat", "warn", "follows from the action before", _slow),
        (
            "official initial states",
            "fail",
            "1 episodes start from one, first 4",
            lambda t: {"official": t.number == 4},
        ),
        ("official initial states", "skip", "18 episodes do not say", lambda _: {"official": None}),
        ("language", "warn", "a single one teaches nothing", lambda _: {"instruction": "do it"}),
        ("language", "fail", "1 of them empty", lambda t: {"instruction": "" if t.number % 3 else t.instruction}),
        ("success", "warn", "not marked", lambda _: {"success": None}),
        ("success", "warn", "no episode succeeded", lambda _: {"success": False}),
        ("copies", "warn", r"\d+ pairs are the same episode", lambda t: {"actions": track(0).actions, "proprio": None}),
        ("distinct episodes", "warn", "18 episodes count as 1", _same_way),
        ("starts of objects", "warn", "deviation of 0", lambda _: {"objects": np.zeros(6)}),
    ],
)
def test_shortcuts_and_sameness_are_noticed(
    check: str, level: str, said: str, spoil: Callable[[Track], dict[str, Any]]
):
    finding = found(changed(spoil))[check]
    assert finding.level == level, finding
    assert re.search(said, finding.said), finding.said


def test_uneven_tasks_are_noticed():
    kept = [one for one in tracks() if one.instruction == TASKS[0] or one.number < 6]
    assert found(kept)["coverage"].level == "pass"
    single = [one for one in tracks() if one.instruction == TASKS[0] or one.number == 1]
    assert "1 with a single one" in found(single)["coverage"].said
    assert found(single)["coverage"].level == "warn"
    assert found(single)["task from the first picture"].level == "skip"


def test_numbers_that_are_not_finite_end_the_audit():
    spoiled = actions(lambda values, one: values.__setitem__((3, 2), np.nan if one.number == 5 else 0.0))
    findings = audit(recording(spoiled)).findings
    assert [(f.level, f.said) for f in findings] == [("fail", "1 episodes have numbers that are not finite, first 5")]


def test_other_robots_are_not_held_to_liberos_conventions():
    four = [replace(one, actions=3 * one.actions[:, :4], proprio=None, look=None, objects=None) for one in tracks()]
    findings = found(four)
    assert "gripper" not in findings
    assert "in step" not in findings
    assert findings["action range"].level == "pass"
    assert findings["task from the first pose"].level == "skip"


def test_numbers_say_what_was_read():
    numbers = audit(recording(tracks())).numbers
    assert numbers["tasks"] == dict.fromkeys(TASKS, PER_TASK)
    assert numbers["idle_share"] == 0.0
    assert numbers["gripper"]["flips"]["mean"] == 1.0
    assert max(numbers["motion_after_action"], key=numbers["motion_after_action"].get) == str(LIBERO_LAG)
