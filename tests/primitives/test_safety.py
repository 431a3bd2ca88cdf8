"""Safety limits: each bites where a motion would leave it, and leaves alone what keeps to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes import brick_and_bin, step

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.facts import Facts
from hone.envs.libero.suites import task
from hone.errors import HoneError
from hone.language.plan import Plan, Subgoal
from hone.policies.scripted import Pilot
from hone.primitives.expert import Expert
from hone.primitives.grasps import TIP_M
from hone.primitives.lmp import LmpParameters
from hone.primitives.lmp_weights import DeafWeights
from hone.primitives.motions import LmpMotions
from hone.primitives.safety import Guard, SafetyLimits, tip_height
from hone.primitives.skills import CLOSE, POSITION_SCALE_M, ROTATION_SCALE_RAD, SPEED_GAIN
from hone.types import Placement

INTO_BIN = Plan("", (Subgoal("pick", "brick"), Subgoal("place_in", "brick", "bin_inside")), "test")


def action(x=0.0, y=0.0, z=0.0, turn=0.0, gripper=-1.0):
    return np.array([x, y, z, 0.0, 0.0, turn, gripper])


def pressed(force: tuple[float, float, float]) -> Facts:
    return replace(brick_and_bin(), hand_force_n=np.array(force))


def guided_by(limits: SafetyLimits, y: float = 0.0, height: float = 0.0) -> tuple[Guard, list[Facts]]:
    """The brick is brought by primitives with weight `y` all along on that row, and `height` (m) added to the goal."""
    weights = LmpParameters.zero().weights
    weights[1] = y
    weights[4] = [-1.0] * 10 + [1.0]
    guard = Guard(limits)
    motions = LmpMotions(DeafWeights("test", lambda movement: LmpParameters(weights, height=height)))
    expert, facts, seen = Expert(plan=INTO_BIN, motions=motions, guard=guard), brick_and_bin(), []
    while (command := expert.act(facts)) is not None and len(seen) < 300:
        facts = step(facts, command.action)
        seen.append(facts)
    return guard, seen


def test_what_keeps_to_the_limits_passes_untouched():
    guard, facts = Guard(), brick_and_bin()
    asked = action(0.6, -0.3, 0.5, 0.4)
    assert guard.allow(facts, asked) is asked
    assert guard.report() == {
        "limited": {"speed": 0, "turn": 0, "force": 0, "box": 0, "table": 0},
        "largest": {"speed_m_s": 0.0, "turn_rad_s": 0.0, "force_n": 0.0},
        "lowest_tip_m": pytest.approx(0.25 - TIP_M),
        "stop": None,
    }


def test_too_fast_a_motion_is_slowed_and_keeps_its_direction():
    guard = Guard(SafetyLimits(speed_m_s=0.2, turn_rad_s=1.0))
    allowed = guard.allow(brick_and_bin(), action(1.0, 0.0, 1.0, turn=-1.0))
    assert allowed is not None
    assert np.linalg.norm(allowed[:3]) * POSITION_SCALE_M * SPEED_GAIN == pytest.approx(0.2)
    assert allowed[0] == pytest.approx(allowed[2])
    assert allowed[5] * ROTATION_SCALE_RAD * SPEED_GAIN == pytest.approx(-1.0)
    assert guard.report()["limited"] == {"speed": 1, "turn": 1, "force": 0, "box": 0, "table": 0}


def test_speed_is_measured_between_control_steps():
    guard, facts = Guard(), brick_and_bin()
    for _ in range(2):
        guard.allow(facts, action())
        facts = step(facts, action(x=0.5, turn=0.2))
    largest = guard.report()["largest"]
    assert largest["speed_m_s"] == pytest.approx(0.5 * POSITION_SCALE_M * SPEED_GAIN)
    assert largest["turn_rad_s"] == pytest.approx(0.2 * ROTATION_SCALE_RAD * SPEED_GAIN, rel=1e-3)


def test_a_primitive_that_dives_into_the_table_stops_above_it():
    limits = SafetyLimits(table_m=0.01)
    free, through = guided_by(replace(limits, enforced=False), height=-0.1)
    guard, seen = guided_by(limits, height=-0.1)
    assert min(tip_height(facts) for facts in through) < -0.02
    assert min(tip_height(facts) for facts in seen) > 0.01 - 1e-6
    assert guard.report()["limited"]["table"] > 0
    assert free.report()["limited"]["table"] == 0
    assert free.report()["lowest_tip_m"] < 0


@pytest.mark.parametrize("weight", [0.9, -0.9])
def test_weights_that_lead_out_of_the_box_stop_at_its_side(weight):
    limits = SafetyLimits(box_low_m=(0.2, -0.14, 0.0), box_high_m=(0.8, 0.04, 0.5))
    _, out = guided_by(replace(limits, enforced=False), y=weight)
    guard, seen = guided_by(limits, y=weight)
    sideways = np.array([facts.eef.position[1] for facts in out])
    assert sideways.max() > 0.05 or sideways.min() < -0.15
    assert all(-0.14 - 1e-6 < facts.eef.position[1] < 0.04 + 1e-6 for facts in seen)
    assert guard.report()["limited"]["box"] > 0


def test_a_hand_outside_the_box_may_come_back_and_goes_no_farther():
    guard = Guard(SafetyLimits(box_low_m=(0.6, -0.5, 0.0)))  # the hand is at 0.5 m from the foot
    back, out = guard.allow(brick_and_bin(), action(x=0.5)), guard.allow(brick_and_bin(), action(x=-0.5, y=0.5))
    assert back is not None
    assert out is not None
    assert back[0] == 0.5
    assert out[0] == pytest.approx(0.0)
    assert out[1] == 0.5


def test_the_box_turns_with_the_foot():
    turned = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    facts = brick_and_bin()
    foot = replace(facts.base, position=facts.eef.position - turned @ np.array([0.8, 0.0, 0.2]), rotation=turned)
    allowed = Guard(SafetyLimits(box_high_m=(0.8, 0.5, 0.75))).allow(replace(facts, base=foot), action(x=0.3, y=0.3))
    assert allowed is not None
    np.testing.assert_allclose(allowed[:2], [0.3, 0.0], atol=1e-9)


def test_motion_against_a_force_yields_and_comes_back_slowly():
    guard = Guard(SafetyLimits(force_n=50.0))
    into = action(x=0.5, y=0.4)
    assert guard.allow(pressed((-40.0, 0.0, 0.0)), into) is into
    first, second = (guard.allow(pressed((-100.0, 0.0, 0.0)), into) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[0] == pytest.approx(0.5 * 0.8 * 50 / 100)
    assert second[0] == pytest.approx(0.5 * (0.8 * 50 / 100) ** 2)
    assert first[1] == second[1] == 0.4
    away = guard.allow(pressed((-100.0, 0.0, 0.0)), action(x=-0.5))
    assert away is not None
    assert away[0] == -0.5
    eased = [guard.allow(brick_and_bin(), into) for _ in range(40)]
    assert eased[-1] is into
    assert guard.report()["largest"]["force_n"] == 100.0


def test_a_force_that_stays_stops_the_robot_and_says_why():
    limits, facts = SafetyLimits(force_n=50.0, force_time_s=0.3), brick_and_bin()
    pilot = Pilot(lambda instruction, facts: INTO_BIN, LmpMotions(), 3, limits)
    pilot.act("", facts)
    acted = [pilot.act("", pressed((0.0, 0.0, 80.0))) for _ in range(12)]
    moved = [bool(a[:6].any()) for a in acted]
    assert moved == [True] * 6 + [False] * 6
    stop = pilot.report()["safety"]["stop"]
    assert stop["limit"] == "force"
    assert "80 N" in stop["message"]
    assert "limit of 50 N" in stop["message"]
    assert pilot.report()["refinements"] == 0


def test_a_stopped_robot_does_not_let_go():
    limits = SafetyLimits(force_n=50.0, force_time_s=0.1)
    pilot, facts = Pilot(lambda instruction, facts: INTO_BIN, LmpMotions(), 0, limits), brick_and_bin()
    while (last := pilot.act("", facts))[6] != CLOSE:
        facts = step(facts, last)
    for _ in range(5):
        last = pilot.act("", replace(facts, hand_force_n=np.array([0.0, 60.0, 0.0])))
    np.testing.assert_array_equal(last, [0, 0, 0, 0, 0, 0, CLOSE])


def test_bad_limits_are_named():
    with pytest.raises(HoneError, match=r"safety\.force_n is 0"):
        SafetyLimits(force_n=0.0)
    with pytest.raises(HoneError, match="empty"):
        SafetyLimits(box_low_m=(0.9, 0.0, 0.0))
    assert "measured" in SafetyLimits(enforced=False).describe()
    assert "100 N" in SafetyLimits().describe()


@pytest.mark.sim
def test_in_libero_a_push_against_the_floor_stays_near_the_force_limit():
    """What stands still gives way to nothing: the floor, which is pushed for two seconds after the hand has met it."""
    largest = {}
    for enforced in (False, True):
        env = LiberoConfig(images=False, physics="fast", stop_at_success=False).build(1)
        env.reset([0], [task("libero_object", 0)], [Placement("sampled", 0)])
        guard, forces = Guard(SafetyLimits(force_n=40.0, table_m=-0.5, enforced=enforced)), []
        for _ in range(80):
            (facts,) = env.facts([0])
            forces.append(float(np.linalg.norm(facts.hand_force_n)))
            allowed = guard.allow(facts, action(z=-0.8, gripper=1.0))
            if allowed is None:
                break
            env.step([0], allowed.astype(np.float32)[None, None])
        assert env.facts([0])[0].table_m == 0.0
        env.close()
        assert forces[0] == 0.0
        largest[enforced] = max(forces[-20:])
        assert (guard.report()["limited"]["force"] > 0) == enforced
    assert largest[False] > 100.0
    assert largest[True] < 60.0
