"""Typed truth about a scene: poses, shapes, contacts, goal. Privileged: an image policy never sees it.

Read by experts, planners, rewards and hints. All poses are in the world frame, metres; `rotation` is a 3×3 matrix
whose columns are the body's axes. Values are those of the simulator's last forward pass, as LIBERO's own success
check reads them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Bool, Float64

from hone.envs.libero.engine import Slot
from hone.envs.libero.scene import Scene


@dataclass(frozen=True)
class Pose:
    position: Float64[np.ndarray, " 3"]
    rotation: Float64[np.ndarray, "3 3"]


@dataclass(frozen=True)
class Box:
    """A collision shape by its bounding box in the frame of the thing it belongs to."""

    center: Float64[np.ndarray, " 3"]
    rotation: Float64[np.ndarray, "3 3"]
    half_size: Float64[np.ndarray, " 3"]


@dataclass(frozen=True)
class Region:
    """A volume to put things in or on: an oriented box. `parent` is the object or fixture that carries it.

    `joint` moves it: that of a drawer, for the drawer's inside.
    """

    pose: Pose
    half_size: Float64[np.ndarray, " 3"]
    parent: str | None
    joint: str | None = None


@dataclass(frozen=True)
class Joint:
    """A drawer's slide (m), a door's or a knob's hinge (rad). `axis` and `anchor` are in the world frame.

    `part` is what it moves, `fixture` what that is a part of; `range` holds the lowest and the highest position.
    """

    kind: Literal["slide", "hinge"]
    position: float
    range: tuple[float, float]
    axis: Float64[np.ndarray, " 3"]
    anchor: Float64[np.ndarray, " 3"]
    part: str
    fixture: str


@dataclass(frozen=True)
class Facts:
    """What is true in one slot now.

    `base` and `eef` are the robot's foot and the site between its fingertips. `objects` are movable, `fixtures` are not
    (their `parts`, drawers and knobs, are). `table_m` is the height of the top of the table, or of the floor that the
    things stand on.

    `hand_force_n` is the sum of what everything that touches hand and fingers exerts on them (N): what a force sensor
    in the wrist shows, less the hand's own weight. Squeezing a thing adds nothing to it. It is that of the last physics
    step, so a blow that is over within a control step is missed.

    `shapes` holds the collision boxes of each object, fixture and part, in its own frame.

    `contacts` holds unordered pairs of names (things, or "robot") that touch. `goal` is the success condition as
    atoms (predicate, argument, …); `satisfied` says for each whether it holds.
    """

    task_name: str
    base: Pose
    eef: Pose
    gripper_width_m: float
    hand_force_n: Float64[np.ndarray, " 3"]
    table_m: float
    objects: dict[str, Pose]
    fixtures: dict[str, Pose]
    parts: dict[str, Pose]
    regions: dict[str, Region]
    joints: dict[str, Joint]
    shapes: dict[str, tuple[Box, ...]]
    contacts: frozenset[frozenset[str]]
    goal: tuple[tuple[str, ...], ...]
    satisfied: tuple[bool, ...]
    of_interest: tuple[str, ...]


class FactReader:
    """Reads `Facts` of one scene; names are resolved to indices once."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        model = self._model = scene.model
        self._body = {name: model.body(f"{name}_main").id for name in (*scene.objects, *scene.fixtures)}
        self._site = {name: model.site(region.site).id for name, region in scene.regions.items()}
        self._base = model.body("robot0_base").id
        self._eef = model.site(scene.robot.grip_site).id
        self._thing_of_root = {int(model.body_rootid[body]): name for name, body in self._body.items()}
        for body in range(model.nbody):
            if model.body(body).name.startswith(("robot0", "gripper0")):
                self._thing_of_root[int(model.body_rootid[body])] = "robot"
        self._hand = self._below(model.body(scene.robot.hand_body).id)
        self._robot = np.array([self._thing_of_root.get(int(root)) == "robot" for root in model.body_rootid])
        self._table_m = self._top_of_arena()
        self._finger = [int(model.joint(f"gripper0_finger_joint{i}").qposadr[0]) for i in (1, 2)]
        roots = {model.body_rootid[self._body[name]] for name in scene.fixtures}
        self._part = {
            model.body(b).name: b for b in range(model.nbody) if model.body_rootid[b] in roots and model.body_jntnum[b]
        }
        self._joint_of_part = {name: int(model.body_jntadr[body]) for name, body in self._part.items()}
        self._region_joint = {
            name: model.joint(joint).name
            for name, site in self._site.items()
            for part, joint in self._joint_of_part.items()
            if model.site_bodyid[site] == self._part[part]
        }
        self._shapes = {name: self._boxes(body) for name, body in (self._body | self._part).items()}

    def read(self, slot: Slot) -> Facts:
        model, data, scene = self._model, slot.data, self._scene
        poses = {name: _pose(data.xpos[body], data.xmat[body]) for name, body in self._body.items()}
        trees = {(int(a), int(b)) for a, b in model.body_rootid[model.geom_bodyid[data.contact.geom[: data.ncon]]]}
        pairs = {
            frozenset(self._thing_of_root.get(root, "world") for root in pair) for pair in trees | self._asleep(data)
        }
        return Facts(
            task_name=scene.task.name,
            base=_pose(data.xpos[self._base], data.xmat[self._base]),
            eef=_pose(data.site_xpos[self._eef], data.site_xmat[self._eef]),
            hand_force_n=self._hand_force(data),
            table_m=self._table_m,
            gripper_width_m=float(abs(data.qpos[self._finger[0]]) + abs(data.qpos[self._finger[1]])),
            objects={name: poses[name] for name in scene.objects},
            fixtures={name: poses[name] for name in scene.fixtures},
            parts={name: _pose(data.xpos[body], data.xmat[body]) for name, body in self._part.items()},
            regions={
                name: Region(
                    _pose(data.site_xpos[site], data.site_xmat[site]),
                    model.site_size[site].copy(),
                    region.parent,
                    self._region_joint.get(name),
                )
                for (name, region), site in zip(scene.regions.items(), self._site.values(), strict=True)
            },
            joints={
                model.joint(joint).name: self._joint(part, joint, data) for part, joint in self._joint_of_part.items()
            },
            shapes=self._shapes,
            contacts=frozenset(pair for pair in pairs if len(pair) == 2),
            goal=tuple(atom.literal for atom in scene.goal.atoms),
            satisfied=tuple(bool(truth) for truth in slot.literals()),
            of_interest=scene.of_interest,
        )

    def _asleep(self, data: mujoco.MjData) -> set[tuple[int, int]]:
        """Pairs of kinematic trees that touch while both sleep, which `data` has no contacts of."""
        if not self._model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
            return set()
        model, awake = self._wakeful
        awake.qpos[:] = data.qpos
        mujoco.mj_kinematics(model, awake)
        mujoco.mj_collision(model, awake)
        roots = model.body_rootid[model.geom_bodyid[awake.contact.geom[: awake.ncon]]]
        asleep = data.body_awake != mujoco.mjtSleepState.mjS_AWAKE
        return {(int(a), int(b)) for a, b in roots[asleep[roots].all(1)]}

    @cached_property
    def _wakeful(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """The same model without sleep, and data of it to look for contacts in."""
        model = copy.copy(self._model)
        model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        return model, mujoco.MjData(model)

    def _hand_force(self, data: mujoco.MjData) -> Float64[np.ndarray, " 3"]:
        total, wrench = np.zeros(3), np.zeros(6)
        bodies = self._model.geom_bodyid[data.contact.geom[: data.ncon]]
        touching = (self._hand[bodies].sum(1) == 1) & (self._robot[bodies].sum(1) == 1)
        for index in np.flatnonzero(touching):
            mujoco.mj_contactForce(self._model, data, index, wrench)  # in the contact's frame, on its second body
            force = data.contact.frame[index].reshape(3, 3).T @ wrench[:3]
            total += force if self._hand[bodies[index, 1]] else -force
        return total

    def _below(self, root: int) -> Bool[np.ndarray, " nbody"]:
        """Marks body `root` and all that hang on it."""
        below = np.zeros(self._model.nbody, bool)
        for body in range(root, self._model.nbody):  # a parent comes before its children
            below[body] = body == root or below[self._model.body_parentid[body]]
        return below

    def _top_of_arena(self) -> float:
        """Height of the highest collision shape that is neither robot nor thing: a table's top, else the floor."""
        model, tops = self._model, [0.0]
        for root in set(model.body_rootid.tolist()) - set(self._thing_of_root) - {0}:
            pose = Pose(model.body_pos[root], _matrix(model.body_quat[root]))
            for box in self._boxes(root):
                turned = pose.rotation @ box.rotation
                if np.isfinite(box.half_size).all():
                    center = pose.position + pose.rotation @ box.center
                    tops.append(float(center[2] + np.abs(turned[2]) @ box.half_size))
        return max(tops)

    def _joint(self, part: str, index: int, data: mujoco.MjData) -> Joint:
        model = self._model
        low, high = model.jnt_range[index]
        return Joint(
            kind="slide" if model.jnt_type[index] == mujoco.mjtJoint.mjJNT_SLIDE else "hinge",
            position=float(data.qpos[model.jnt_qposadr[index]]),
            range=(float(low), float(high)),
            axis=data.xaxis[index].copy(),
            anchor=data.xanchor[index].copy(),
            part=part,
            fixture=self._thing_of_root[int(model.body_rootid[self._part[part]])],
        )

    def _boxes(self, root: int) -> tuple[Box, ...]:
        """Bounding boxes of the collision shapes fixed to body `root`, in its frame, without what moves on a joint."""
        model = self._model
        frames = {root: (np.zeros(3), np.eye(3))}
        for body in range(root + 1, model.nbody):  # a parent comes before its children
            parent = int(model.body_parentid[body])
            if parent in frames and model.body_jntnum[body] == 0:
                position, rotation = frames[parent]
                frames[body] = (position + rotation @ model.body_pos[body], rotation @ _matrix(model.body_quat[body]))
        boxes = []
        for geom in range(model.ngeom):
            body = int(model.geom_bodyid[geom])
            if body not in frames or (model.geom_contype[geom] == 0 and model.geom_conaffinity[geom] == 0):
                continue
            position, rotation = frames[body]
            turned = rotation @ _matrix(model.geom_quat[geom])
            center, half_size = model.geom_aabb[geom][:3], model.geom_aabb[geom][3:]
            boxes.append(Box(position + rotation @ model.geom_pos[geom] + turned @ center, turned, half_size.copy()))
        return tuple(boxes)


def _matrix(quat_wxyz: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat_wxyz)
    return matrix.reshape(3, 3)


def _pose(position: np.ndarray, matrix: np.ndarray) -> Pose:
    return Pose(position.copy(), matrix.reshape(3, 3).copy())
