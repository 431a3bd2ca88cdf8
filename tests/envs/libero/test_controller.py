"""The controller's pieces against robosuite's own functions, and the C solver against NumPy's pseudo-inverse."""

from __future__ import annotations

import ctypes
import json
import warnings

import numpy as np
import pytest

from hone.envs.libero import controller
from hone.envs.libero.controller import ROBOT_DTYPE, ArmState, RobotConstants
from hone.envs.libero.engine import axis_angle
from hone.envs.libero.native import load_engine

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # robosuite's, at import
    import robosuite.utils.control_utils as theirs
    import robosuite.utils.transform_utils as transforms


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diagonal(r))
    return q * np.linalg.det(q)


def random_arm(rng: np.random.Generator) -> ArmState:
    factor = rng.normal(size=(7, 7))
    return ArmState(
        position=rng.normal(size=3),
        rotation=random_rotation(rng),
        linear_velocity=rng.normal(size=3),
        angular_velocity=rng.normal(size=3),
        jacobian=rng.normal(size=(6, 7)),
        mass_matrix=factor @ factor.T + np.eye(7),
        qpos=rng.normal(size=7),
        qvel=rng.normal(size=7),
    )


def random_robot(rng: np.random.Generator) -> np.ndarray:
    robot = np.zeros((), ROBOT_DTYPE)
    robot["kp"], robot["kd"], robot["posture_kp"] = 150.0, 2 * np.sqrt(150.0), 10.0
    robot["home_qpos"] = rng.normal(size=7)
    return robot


def test_action_rotation_rounds_like_robosuite() -> None:
    # Bitwise: the single-precision rounding is part of what LIBERO's trajectories are.
    rng = np.random.default_rng(0)
    vectors = [rng.uniform(-0.5, 0.5, 3) * scale for scale in np.repeat([1.0, 1e-2, 1e-5], 50)]
    vectors += [np.zeros(3), np.array([0.5, 0.0, 0.0]), np.array([0.0, -0.5, 0.0])]
    for vector in vectors:
        expected = transforms.quat2mat(transforms.axisangle2quat(vector))
        assert np.array_equal(controller.action_rotation(vector), expected), vector


def test_orientation_error_is_robosuites() -> None:
    rng = np.random.default_rng(1)
    goal, current = random_rotation(rng), random_rotation(rng)
    np.testing.assert_allclose(
        controller.orientation_error(goal, current), theirs.orientation_error(goal, current), rtol=0, atol=1e-14
    )


def test_torques_are_robosuites() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        arm, robot = random_arm(rng), random_robot(rng)
        goal_position, goal_rotation, bias = rng.normal(size=3), random_rotation(rng), rng.normal(size=7)

        force = 150.0 * (goal_position - arm.position) - robot["kd"][:3] * arm.linear_velocity
        torque = 150.0 * theirs.orientation_error(goal_rotation, arm.rotation) - robot["kd"][3:] * arm.angular_velocity
        _, inertia_position, inertia_rotation, nullspace = theirs.opspace_matrices(
            arm.mass_matrix, arm.jacobian, arm.jacobian[:3].copy(), arm.jacobian[3:].copy()
        )
        wrench = np.concatenate([inertia_position @ force, inertia_rotation @ torque])
        expected = arm.jacobian.T @ wrench + bias
        expected += theirs.nullspace_torques(arm.mass_matrix, nullspace, robot["home_qpos"], arm.qpos, arm.qvel)

        actual = controller.osc_torques(arm, goal_position, goal_rotation, bias, robot)
        # Rounding (1e-16) times the condition of J M^-1 J^T (up to 1e4 here).
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [6, 5, 3, 1])
def test_native_solver_is_the_pseudo_inverse(rank: int) -> None:
    # Full rank takes the Cholesky factor; a singular arm (rank < 6) must fall back to the pseudo-inverse, not blow up.
    library, rng = load_engine(), np.random.default_rng(rank)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :rank]
    matrix = np.ascontiguousarray(basis @ np.diag(rng.uniform(0.5, 2.0, rank)) @ basis.T)
    matrix = 0.5 * (matrix + matrix.T)
    b, x = basis @ rng.normal(size=rank), np.empty(6)
    library.hone_solve(
        ctypes.c_int32(6), *(ctypes.c_void_p(array.ctypes.data) for array in (matrix, np.ascontiguousarray(b), x))
    )
    np.testing.assert_allclose(x, np.linalg.pinv(matrix, rcond=1e-12, hermitian=True) @ b, rtol=0, atol=1e-7)


def test_axis_angle_is_robosuites() -> None:
    rng = np.random.default_rng(3)
    for quat_wxyz in [*(q / np.linalg.norm(q) for q in rng.normal(size=(20, 4))), np.array([1.0, 0, 0, 0])]:
        expected = transforms.quat2axisangle(np.roll(quat_wxyz, -1).copy())
        np.testing.assert_allclose(axis_angle(quat_wxyz), expected, rtol=0, atol=1e-12)


@pytest.mark.sim
def test_constants_survive_json_exactly(fresh_control_env) -> None:
    control_env = fresh_control_env("libero_object")
    constants = RobotConstants.read(control_env)
    again = RobotConstants.from_json(json.loads(json.dumps(constants.to_json())))
    model = control_env.sim.model._model
    assert constants.bind(model).tobytes() == again.bind(model).tobytes()
    assert (again.substeps, again.look_substep) == (25, 24)
