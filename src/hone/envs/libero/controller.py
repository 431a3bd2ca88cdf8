"""The Panda's OSC_POSE controller as LIBERO runs it: constants read once from hf-libero, and the law itself in NumPy.

Operational space control (Khatib 1987), as in robosuite 1.4.0: with x, R the gripper site's pose, J = [Jp; Jr] its
Jacobian, v, w its velocities, M the arm's mass matrix, kd = 2 sqrt(kp),

    f = kp (x_goal - x) - kd v        t = kp e(R_goal, R) - kd w        e = 1/2 sum_k R[:, k] x R_goal[:, k]
    tau = J^T [(Jp M^-1 Jp^T)^-1 f; (Jr M^-1 Jr^T)^-1 t] + bias + N^T M (10 (q_home - q) - 2 sqrt(10) qd)
    N = I - M^-1 J^T (J M^-1 J^T)^-1 J

This file is the reference; `engine.c` does the same sums in C. The tests compare both with hf-libero step by step.
Three habits of the original are kept because trajectories depend on them: the rotation of an action is computed in
single precision; an action without rotation keeps the previous goal orientation; and the first substep of an episode
acts on the arm state cached when the controller was made (`RobotConstants.stale`), where the fingers are at 0 and
nothing moves.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float64

ARM_DTYPE = np.dtype(
    [
        ("position", "f8", 3),
        ("rotation", "f8", (3, 3)),
        ("linear_velocity", "f8", 3),
        ("angular_velocity", "f8", 3),
        ("jacobian", "f8", (6, 7)),
        ("mass_matrix", "f8", (7, 7)),
        ("qpos", "f8", 7),
        ("qvel", "f8", 7),
    ],
    align=True,
)

ROBOT_DTYPE = np.dtype(
    [
        ("arm_qpos", "i4", 7),
        ("arm_dof", "i4", 7),
        ("arm_actuator", "i4", 7),
        ("finger_qpos", "i4", 2),
        ("finger_actuator", "i4", 2),
        ("grip_site", "i4"),
        ("hand_body", "i4"),
        ("substeps", "i4"),
        ("look_substep", "i4"),
        ("home_qpos", "f8", 7),
        ("action_scale", "f8", 6),
        ("kp", "f8", 6),
        ("kd", "f8", 6),
        ("posture_kp", "f8"),
        ("torque_low", "f8", 7),
        ("torque_high", "f8", 7),
        ("grip_speed", "f8"),
        ("finger_bias", "f8", 2),
        ("finger_weight", "f8", 2),
        ("initial_goal_rotation", "f8", (3, 3)),
        ("stale", ARM_DTYPE),
    ],
    align=True,
)
"""Memory layout shared with `struct Robot` in engine.c."""


@dataclass(frozen=True)
class ArmState:
    """What the controller sees of the arm: gripper site pose (world, m), velocities, Jacobian [Jp; Jr], mass matrix."""

    position: Float64[np.ndarray, " 3"]
    rotation: Float64[np.ndarray, "3 3"]
    linear_velocity: Float64[np.ndarray, " 3"]
    angular_velocity: Float64[np.ndarray, " 3"]
    jacobian: Float64[np.ndarray, "6 7"]
    mass_matrix: Float64[np.ndarray, "7 7"]
    qpos: Float64[np.ndarray, " 7"]
    qvel: Float64[np.ndarray, " 7"]


@dataclass(frozen=True)
class RobotConstants:
    """Everything the controller needs of one arena, free of ids: names are resolved on a model by `bind`.

    `look_substep`: hf-libero samples its observables (proprioception and pictures) after this many of the `substeps`
    of a control step: 24 of 25 after `reset()` and one `set_init_state`, the start this project prescribes.
    """

    arm_joints: tuple[str, ...]
    arm_actuators: tuple[str, ...]
    finger_joints: tuple[str, ...]
    finger_actuators: tuple[str, ...]
    grip_site: str
    hand_body: str
    home_qpos: Float64[np.ndarray, " 7"]
    action_scale: Float64[np.ndarray, " 6"]
    kp: Float64[np.ndarray, " 6"]
    kd: Float64[np.ndarray, " 6"]
    torque_low: Float64[np.ndarray, " 7"]
    torque_high: Float64[np.ndarray, " 7"]
    grip_speed: float
    initial_goal_rotation: Float64[np.ndarray, "3 3"]
    stale: ArmState
    substeps: int = 25
    look_substep: int = 24
    posture_kp: float = 10.0

    @classmethod
    def read(cls, control_env: Any) -> RobotConstants:
        """Read them from an hf-libero `ControlEnv` that was just seeded and reset, before any step."""
        env = control_env.env
        robot = env.robots[0]
        controller = robot.controller
        assert not controller.new_update, "the environment was stepped; reset it first"
        controller.scale_action(np.zeros(6))  # the scale is computed on first use
        assert not controller.action_output_transform.any(), "OSC_POSE of LIBERO has symmetric ranges"
        torque_low, torque_high = robot.torque_limits
        return cls(
            arm_joints=tuple(robot.robot_joints),
            arm_actuators=tuple(robot.robot_model.actuators),
            finger_joints=tuple(robot.gripper.joints),
            finger_actuators=tuple(robot.gripper.actuators),
            grip_site=robot.gripper.important_sites["grip_site"],
            hand_body=robot.robot_model.eef_name,
            home_qpos=np.array(controller.initial_joint),
            action_scale=np.array(controller.action_scale, dtype=np.float64),
            kp=np.array(controller.kp, dtype=np.float64),
            kd=np.array(controller.kd, dtype=np.float64),
            torque_low=np.array(torque_low, dtype=np.float64),
            torque_high=np.array(torque_high, dtype=np.float64),
            grip_speed=float(robot.gripper.speed),
            initial_goal_rotation=np.array(controller.goal_ori),
            stale=ArmState(
                position=np.array(controller.ee_pos),
                rotation=np.array(controller.ee_ori_mat),
                linear_velocity=np.array(controller.ee_pos_vel),
                angular_velocity=np.array(controller.ee_ori_vel),
                jacobian=np.array(controller.J_full),
                mass_matrix=np.array(controller.mass_matrix),
                qpos=np.array(controller.joint_pos),
                qvel=np.array(controller.joint_vel),
            ),
            substeps=int(env.control_timestep / env.model_timestep),
            look_substep=int(env.control_timestep / env.model_timestep) - 1,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; floats survive JSON exactly."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RobotConstants:
        stale = ArmState(**{key: np.array(value, dtype=np.float64) for key, value in data["stale"].items()})
        values = {key: data[key] for key in (f.name for f in fields(cls)) if key != "stale"}
        for key, value in values.items():
            if isinstance(value, list):
                is_names = isinstance(value[0], str)
                values[key] = tuple(value) if is_names else np.array(value, dtype=np.float64)
        return cls(**values, stale=stale)

    def bind(self, model: mujoco.MjModel) -> np.ndarray:
        """One `ROBOT_DTYPE` record (a 0-d array) with the names resolved to ids and addresses of `model`."""
        robot = np.zeros((), ROBOT_DTYPE)
        robot["arm_qpos"] = [model.joint(name).qposadr[0] for name in self.arm_joints]
        robot["arm_dof"] = [model.joint(name).dofadr[0] for name in self.arm_joints]
        robot["arm_actuator"] = [model.actuator(name).id for name in self.arm_actuators]
        robot["finger_qpos"] = [model.joint(name).qposadr[0] for name in self.finger_joints]
        robot["finger_actuator"] = [model.actuator(name).id for name in self.finger_actuators]
        robot["grip_site"] = model.site(self.grip_site).id
        robot["hand_body"] = model.body(self.hand_body).id
        ctrl_range = model.actuator_ctrlrange[robot["finger_actuator"]]
        robot["finger_bias"] = 0.5 * (ctrl_range[:, 1] + ctrl_range[:, 0])
        robot["finger_weight"] = 0.5 * (ctrl_range[:, 1] - ctrl_range[:, 0])
        for name in (
            *("substeps", "look_substep", "home_qpos", "action_scale", "kp", "kd", "posture_kp"),
            *("torque_low", "torque_high", "grip_speed", "initial_goal_rotation"),
        ):
            robot[name] = getattr(self, name)
        for f in fields(ArmState):
            robot["stale"][f.name] = getattr(self.stale, f.name)
        return robot


def stale_arm(robot: np.ndarray) -> ArmState:
    """The arm state of the first substep of an episode."""
    return ArmState(**{f.name: np.array(robot["stale"][f.name]) for f in fields(ArmState)})


def read_arm(model: mujoco.MjModel, data: mujoco.MjData, robot: np.ndarray) -> ArmState:
    """The live arm state; `data` must have gone through `mj_step1` (or `mj_forward`)."""
    dofs = robot["arm_dof"]
    jacobian = np.empty((6, model.nv))
    mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], int(robot["grip_site"]))
    mass_matrix = np.empty((model.nv, model.nv))
    mujoco.mj_fullM(model, mass_matrix, data.qM)
    return ArmState(
        position=data.site_xpos[robot["grip_site"]].copy(),
        rotation=data.site_xmat[robot["grip_site"]].reshape(3, 3).copy(),
        linear_velocity=jacobian[:3] @ data.qvel,
        angular_velocity=jacobian[3:] @ data.qvel,
        jacobian=np.ascontiguousarray(jacobian[:, dofs]),
        mass_matrix=np.ascontiguousarray(mass_matrix[dofs][:, dofs]),
        qpos=data.qpos[robot["arm_qpos"]].copy(),
        qvel=data.qvel[dofs].copy(),
    )


def action_rotation(rotation_vector: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, "3 3"]:
    """Rotation matrix of a rotation vector (rad) with robosuite's single-precision rounding (`quat2mat`).

    The quaternion is cast to float32 and so are its products; only the diagonal is summed in float64. The dot product
    of the quaternion with itself adds float32 products in float64 (what BLAS `sdot` does with four elements).
    """
    angle = math.sqrt(float(rotation_vector @ rotation_vector))
    if angle == 0.0:
        return np.eye(3)
    q = np.empty(4, np.float32)
    q[0] = math.cos(angle / 2.0)
    q[1:] = rotation_vector / angle * math.sin(angle / 2.0)
    squared_norm = np.float32((q * q).astype(np.float64).sum())
    q = (q.astype(np.float64) * math.sqrt(2.0 / float(squared_norm))).astype(np.float32)
    p = np.outer(q, q)
    d = np.diagonal(p).astype(np.float64)
    return np.array(
        [
            [1.0 - d[2] - d[3], p[1, 2] - p[3, 0], p[1, 3] + p[2, 0]],
            [p[1, 2] + p[3, 0], 1.0 - d[1] - d[3], p[2, 3] - p[1, 0]],
            [p[1, 3] - p[2, 0], p[2, 3] + p[1, 0], 1.0 - d[1] - d[2]],
        ],
        dtype=np.float64,
    )


def orientation_error(
    goal: Float64[np.ndarray, "3 3"], current: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, " 3"]:
    """e = 1/2 sum_k current[:, k] x goal[:, k] (rad for small angles, world frame)."""
    s = goal @ current.T  # the sum of cross products is the skew part of this matrix
    return 0.5 * np.array([s[2, 1] - s[1, 2], s[0, 2] - s[2, 0], s[1, 0] - s[0, 1]])


def osc_torques(
    arm: ArmState,
    goal_position: Float64[np.ndarray, " 3"],
    goal_rotation: Float64[np.ndarray, "3 3"],
    bias: Float64[np.ndarray, " 7"],
    robot: np.ndarray,
) -> Float64[np.ndarray, " 7"]:
    """Joint torques (N m) of the equation at the top of this file, before clipping to the actuators' range."""
    force = (goal_position - arm.position) * robot["kp"][:3] - arm.linear_velocity * robot["kd"][:3]
    error = orientation_error(goal_rotation, arm.rotation)
    torque = error * robot["kp"][3:] - arm.angular_velocity * robot["kd"][3:]

    jacobian, mass_matrix = arm.jacobian, arm.mass_matrix
    mass_inv = np.linalg.inv(mass_matrix)
    lambda_inv = jacobian @ mass_inv @ jacobian.T
    lambda_full = np.linalg.pinv(lambda_inv, rcond=1e-15)
    lambda_position, lambda_rotation = np.linalg.pinv(np.stack([lambda_inv[:3, :3], lambda_inv[3:, 3:]]), rcond=1e-15)
    nullspace = np.eye(7) - (mass_inv @ jacobian.T @ lambda_full) @ jacobian

    wrench = np.concatenate([lambda_position @ force, lambda_rotation @ torque])
    posture_kp = float(robot["posture_kp"])
    posture_kd = 2.0 * math.sqrt(posture_kp)
    posture = mass_matrix @ (posture_kp * (robot["home_qpos"] - arm.qpos) - posture_kd * arm.qvel)
    return jacobian.T @ wrench + bias + nullspace.T @ posture


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return value
