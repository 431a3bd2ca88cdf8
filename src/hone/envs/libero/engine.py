"""Batched stepping of LIBERO scenes: `NativeStepper` (engine.c) and its reference `NumpyStepper`, one interface.

One control step (20 Hz) is 25 physics steps of 2 ms, each `mj_step1` -> controller -> `mj_step2`. hf-libero does the
same with two more forward passes per physics step and Python around them; they change nothing and are left out.

A `Slot` is an episode in progress: MuJoCo's data plus one record of ours (`Slot.state`), so that a snapshot is a copy
of both. Success is evaluated after every control step on what the last forward pass left, as hf-libero does.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32

from hone.envs.libero import controller
from hone.envs.libero.controller import ARM_DTYPE, ROBOT_DTYPE, RobotConstants
from hone.envs.libero.goals import ATOM_DTYPE, BoundGoal, GoalProgram
from hone.envs.libero.native import load_engine
from hone.envs.libero.threads import ThreadPool, check_cores
from hone.errors import HoneError, unknown_name

Engine = Literal["native", "numpy"]

SLOT_DTYPE = np.dtype(
    [("model", "u8"), ("data", "u8"), ("robot", "u8"), ("atoms", "u8"), ("state", "u8"), ("num_atoms", "i8")]
)
_BAD_NUMBER_WARNINGS = [
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
    mujoco.mjtWarning.mjWARN_BADCTRL,
]


@lru_cache
def state_dtype(nq: int) -> np.dtype:
    """What a slot carries besides `MjData`; memory layout shared with `struct State` in engine.c.

    `goal_*`, `grip` (two numbers in [-1, 1]) and `stale` are the controller's. `look_*` is what hf-libero's observables
    would show: gripper site (m), hand orientation (w, x, y, z), fingers (m), and the `qpos` whose forward pass the
    picture shows. `start_qpos`: `qpos` as the last control step began, when hf-libero last switched what glows.
    `count`: control steps taken. `success`: goal reached after the last one. `touching`: see goals.py.
    """
    return np.dtype(
        [
            ("goal_position", "f8", 3),
            ("goal_rotation", "f8", (3, 3)),
            ("grip", "f8", 2),
            ("look_position", "f8", 3),
            ("look_quat", "f8", 4),
            ("look_fingers", "f8", 2),
            ("stale", "i4"),
            ("count", "i4"),
            ("success", "i4"),
            ("touching", "u4"),
            ("look_qpos", "f8", nq),
            ("start_qpos", "f8", nq),
        ],
        align=True,
    )


class SlotSnapshot:
    """A slot's whole future, given its model. Fixture poses live in the model and are not part of it.

    `data` goes back to its slot's `spare` ones with the snapshot: copying takes 15 us, making it 350 us.
    """

    def __init__(self, data: mujoco.MjData, state: bytes, spare: list[mujoco.MjData]) -> None:
        self.data, self.state, self._spare = data, state, spare

    def __del__(self) -> None:
        self._spare.append(self.data)


class Slot:
    """One episode in progress on `model` (which slots of a task may share)."""

    def __init__(
        self,
        model: mujoco.MjModel,
        robot: RobotConstants,
        goal: GoalProgram,
        data: mujoco.MjData | None = None,
    ) -> None:
        self.model = model
        self.data = mujoco.MjData(model) if data is None else data
        self.robot = robot.bind(model)
        self.goal: BoundGoal = goal.bind(model)
        self.state = np.zeros((), state_dtype(model.nq))
        self._spare: list[mujoco.MjData] = []
        self.handle = np.array(
            (
                model._address,
                self.data._address,
                self.robot.ctypes.data,
                self.goal.atoms.ctypes.data,
                self.state.ctypes.data,
                len(self.goal.atoms),
            ),
            SLOT_DTYPE,
        )

    def reset(self, initial_state: Float64[np.ndarray, " S"]) -> None:
        """Start an episode at a flattened state (time, qpos, qvel), as hf-libero's `set_init_state` after a reset."""
        model, data = self.model, self.data
        if initial_state.shape != (1 + model.nq + model.nv,):
            raise HoneError(
                f"initial state has {len(initial_state)} numbers, but this scene needs {1 + model.nq + model.nv} "
                f"(time, {model.nq} positions, {model.nv} velocities); it belongs to another task or asset pack."
            )
        mujoco.mj_resetData(model, data)
        data.time = initial_state[0]
        data.qpos[:] = initial_state[1 : 1 + model.nq]
        data.qvel[:] = initial_state[1 + model.nq :]
        mujoco.mj_forward(model, data)
        self.begin()

    def begin(self) -> None:
        """Put the controller in the state hf-libero's has after a reset. `data` must be fresh from `mj_forward`."""
        state, data, robot = self.state, self.data, self.robot
        state["goal_position"] = robot["stale"]["position"]
        state["goal_rotation"] = robot["initial_goal_rotation"]
        state["grip"] = 0.0
        state["stale"] = 1
        state["count"] = 0
        state["touching"] = self.goal.update_touching(self.model, data)
        state["success"] = self.goal.evaluate(self.model, data, int(state["touching"]))
        state["look_qpos"] = state["start_qpos"] = data.qpos
        self._look()

    def snapshot(self) -> SlotSnapshot:
        data = self._spare.pop() if self._spare else mujoco.MjData(self.model)
        mujoco.mj_copyData(data, self.model, self.data)
        return SlotSnapshot(data, self.state.tobytes(), self._spare)

    def restore(self, snapshot: SlotSnapshot) -> None:
        """Put a snapshot of this scene back; the same actions then give the same future bit for bit."""
        mujoco.mj_copyData(self.data, self.model, snapshot.data)
        self.state[...] = np.frombuffer(snapshot.state, self.state.dtype)[0]

    @property
    def success(self) -> bool:
        """Whether the goal was reached after the last control step."""
        return bool(self.state["success"])

    def literals(self) -> Bool[np.ndarray, " M"]:
        """Which literals of the goal hold, as the success check sees them."""
        return self.goal.truths(self.model, self.data, int(self.state["touching"]))

    def proprio(self) -> Float64[np.ndarray, " 8"]:
        """End-effector position (m), axis-angle (rad) and finger joints (m), as hf-libero's observation shows them."""
        state = self.state
        return np.concatenate([state["look_position"], axis_angle(state["look_quat"]), state["look_fingers"]])

    def _look(self) -> None:
        self.state["look_position"] = self.data.site_xpos[self.robot["grip_site"]]
        self.state["look_quat"] = self.data.xquat[self.robot["hand_body"]]
        self.state["look_fingers"] = self.data.qpos[self.robot["finger_qpos"]]

    def _control_step(self, action: Float64[np.ndarray, " 7"]) -> None:
        """The body of `control_step` in engine.c."""
        model, data, robot, state = self.model, self.data, self.robot, self.state
        dofs, arm_actuators, finger_actuators = robot["arm_dof"], robot["arm_actuator"], robot["finger_actuator"]
        sleep_enabled = bool(model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP)
        grip_step = np.array([-1.0, 1.0]) * robot["grip_speed"] * np.sign(action[6])
        state["start_qpos"] = data.qpos
        for substep in range(1, int(robot["substeps"]) + 1):
            mujoco.mj_step1(model, data)
            # Contacts are fresh and nothing has fallen asleep since they were found.
            if sleep_enabled or substep == robot["substeps"]:
                state["touching"] = self.goal.update_touching(model, data, int(state["touching"]))

            arm = controller.stale_arm(robot) if state["stale"] else controller.read_arm(model, data, robot)
            state["stale"] = 0
            if substep == 1:
                delta = np.clip(action[:6], -1.0, 1.0) * robot["action_scale"]
                if delta[3:].any():
                    state["goal_rotation"] = controller.action_rotation(delta[3:]) @ arm.rotation
                state["goal_position"] = arm.position + delta[:3]

            torques = controller.osc_torques(
                arm, state["goal_position"], state["goal_rotation"], data.qfrc_bias[dofs], robot
            )
            data.ctrl[arm_actuators] = np.clip(torques, robot["torque_low"], robot["torque_high"])
            state["grip"] = np.clip(state["grip"] + grip_step, -1.0, 1.0)
            data.ctrl[finger_actuators] = robot["finger_bias"] + robot["finger_weight"] * state["grip"]

            # Observations show this substep: poses of its forward pass (qpos before integration), fingers after it.
            if substep == robot["look_substep"]:
                state["look_qpos"] = data.qpos
            mujoco.mj_step2(model, data)
            if substep == robot["look_substep"]:
                self._look()
        state["count"] += 1
        state["success"] = self.goal.evaluate(model, data, int(state["touching"]))

    def _has_bad_numbers(self) -> bool:
        bound = mujoco.mjMAXVAL  # what MuJoCo itself calls bad: not finite, or beyond this
        numbers = np.concatenate([self.data.qpos, self.data.qvel])
        return bool(
            not np.all(np.abs(numbers) <= bound) or any(self.data.warning[w].number for w in _BAD_NUMBER_WARNINGS)
        )


class Stepped(NamedTuple):
    """Result of one `step` call on `n` slots.

    `steps`: control steps taken. `success`: the goal was reached after some step of this call (`Slot.success` tells
    about the last step). `diverged`: the simulation produced numbers that are not
    finite; the slot must be reset.
    """

    steps: Int32[np.ndarray, " n"]
    success: Bool[np.ndarray, " n"]
    diverged: Bool[np.ndarray, " n"]


class NativeStepper:
    """Steps slots in C: on the calling thread, or on `num_threads` threads that wait between calls.

    `cores`, if given, has a core for each thread to stay on. Slots are independent: neither the batch they are in nor
    the number of threads changes their future by a bit.
    """

    def __init__(self, num_threads: int = 1, cores: Sequence[int] = ()) -> None:
        if num_threads < 1:
            raise HoneError(f"num_threads must be at least 1, not {num_threads}.")
        check_cores(cores, num_threads)
        self.num_threads = num_threads
        self.cores = tuple(cores)
        self._library = load_engine()
        sizes = (ctypes.c_int64 * 5)()
        self._library.hone_sizes(sizes)
        expected = [d.itemsize for d in (ARM_DTYPE, ROBOT_DTYPE, ATOM_DTYPE, state_dtype(0), SLOT_DTYPE)]
        assert list(sizes) == expected, f"memory layouts of engine.c and NumPy differ: {list(sizes)} {expected}"
        self._pool: ThreadPool | None = None

    def _threads(self) -> ctypes.c_void_p:
        if self.num_threads == 1 and not self.cores:
            return ctypes.c_void_p(None)
        if self._pool is None or self._pool.process != os.getpid():
            self._pool = ThreadPool(self._library, self.num_threads, self.cores)
        return self._pool.handle

    def step(
        self,
        slots: Sequence[Slot],
        chunks: Float[np.ndarray, "n H 7"],
        max_steps: Int[np.ndarray, " n"],
        stop_at_success: bool = True,
    ) -> Stepped:
        """Up to min(H, `max_steps[i]`) control steps in slot i; it stops when it diverges and, if asked, at success."""
        chunks = _checked(slots, chunks, max_steps)
        n, horizon, _ = chunks.shape
        if n == 0:
            return _nothing_stepped(0)
        handles = np.array([slot.handle for slot in slots], SLOT_DTYPE)
        limits = np.ascontiguousarray(max_steps, np.int32)
        scratch = np.empty((n, 6 * max(slot.model.nv for slot in slots)))
        result = _nothing_stepped(n)
        self._library.hone_step(
            self._threads(),
            *map(_pointer, (handles, chunks, limits, scratch)),
            *map(ctypes.c_int32, (n, horizon, stop_at_success, scratch.shape[1])),
            *map(_pointer, result),
        )
        return result


class NumpyStepper:
    """Steps slots one after the other in Python: the reference that `NativeStepper` is tested against."""

    def step(
        self,
        slots: Sequence[Slot],
        chunks: Float[np.ndarray, "n H 7"],
        max_steps: Int[np.ndarray, " n"],
        stop_at_success: bool = True,
    ) -> Stepped:
        """As `NativeStepper.step`."""
        chunks = _checked(slots, chunks, max_steps)
        result = _nothing_stepped(len(slots))
        for i, slot in enumerate(slots):
            for action in chunks[i, : max(0, max_steps[i])]:
                slot._control_step(action)
                result.steps[i] += 1
                if slot._has_bad_numbers():
                    slot.state["success"] = 0
                    result.diverged[i] = True
                    break
                result.success[i] |= slot.success
                if slot.success and stop_at_success:
                    break
        return result


Stepper = NativeStepper | NumpyStepper


def build_stepper(engine: Engine = "native", num_threads: int = 1, cores: Sequence[int] = ()) -> Stepper:
    """`native` is compiled at first use; `numpy` is the reference: equal within rounding, several times slower."""
    if engine == "native":
        return NativeStepper(num_threads, cores)
    if engine == "numpy":
        return NumpyStepper()
    raise unknown_name("engine", engine, ("native", "numpy"))


def axis_angle(quat_wxyz: Float64[np.ndarray, " 4"]) -> Float64[np.ndarray, " 3"]:
    """Rotation axis times angle (rad, 0 to 2 pi), not the shorter way round: robosuite's `quat2axisangle`."""
    w = min(1.0, max(-1.0, float(quat_wxyz[0])))
    sine = np.sqrt(1.0 - w * w)
    if sine == 0.0:
        return np.zeros(3)
    return quat_wxyz[1:] * 2.0 * np.arccos(w) / sine


def _checked(slots: Sequence[Slot], chunks: np.ndarray, max_steps: np.ndarray) -> Float64[np.ndarray, "n H 7"]:
    if chunks.ndim != 3 or chunks.shape[0] != len(slots) or chunks.shape[2] != 7:
        raise HoneError(f"action chunks have shape {chunks.shape}, expected ({len(slots)}, H, 7).")
    if max_steps.shape != (len(slots),):
        raise HoneError(f"max_steps has shape {max_steps.shape}, expected ({len(slots)},).")
    if len({id(slot) for slot in slots}) != len(slots):
        raise HoneError("the same slot was given twice in one step.")
    return np.ascontiguousarray(chunks, np.float64)


def _nothing_stepped(n: int) -> Stepped:
    return Stepped(np.zeros(n, np.int32), np.zeros(n, bool), np.zeros(n, bool))


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
