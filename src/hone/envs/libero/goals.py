"""LIBERO's success condition as data: a BDDL goal compiled to a few numbers that C and NumPy evaluate alike.

A goal is a conjunction of atoms such as `(in milk_1 basket_1_contain_region)`. hf-libero evaluates them on what the
last `mj_step` left behind: body and site poses and contacts are those before the last integration, joint positions
those after. The rules, oddities included, are hf-libero's (p: a body's position; c, R, z: a site's pose, half sizes):

    In(x, site)      c - |R z| - (0, 0, .01) < p(x) < c + |R z|
    On(x, site)      d = R (p(x) - c):  z2 - .005 < d2 < z2 + .10,  |d0| < z0,  |d1| < z1; and, where the site
                     belongs to an object or fixture, that touches x
    On(x, y)         p(y).z <= p(x).z,  x touches y,  |p(x).xy - p(y).xy| < .03
    Open, TurnOn     some joint beyond a threshold;  Close, TurnOff: every joint beyond a threshold

Two things touch when a contact joins their kinematic trees. Sleeping things (`mjENBL_SLEEP`) have no contacts, so
whether an atom's two things touch is remembered per slot while both sleep: see `BoundGoal.update_touching`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import mujoco
import numpy as np
from jaxtyping import Bool

from hone.errors import HoneError

Rule = Literal["in_site", "on_site", "on_object", "any_joint", "all_joints"]
Comparison = Literal["<", ">", ">="]

RULES: tuple[Rule, ...] = ("in_site", "on_site", "on_object", "any_joint", "all_joints")
COMPARISONS: tuple[Comparison, ...] = ("<", ">", ">=")
MAX_JOINTS = 4
MAX_ATOMS = 32
ON_OBJECT_RADIUS = 0.03
ON_SITE_BELOW, ON_SITE_ABOVE = 0.005, 0.10
IN_SITE_BELOW = 0.01

ATOM_DTYPE = np.dtype(
    [
        ("rule", "i4"),
        ("body", "i4"),
        ("site", "i4"),
        ("other_body", "i4"),
        ("root", "i4"),
        ("other_root", "i4"),
        ("comparison", "i4"),
        ("num_joints", "i4"),
        ("qpos", "i4", MAX_JOINTS),
        ("threshold", "f8"),
        ("size", "f8", 3),
    ],
    align=True,
)
"""Memory layout shared with `struct Atom` in engine.c. Ids that do not apply are -1; `other_root` asks for contact."""


@dataclass(frozen=True)
class Atom:
    """One literal of a goal, with the names of what it looks at. `touches` is the body x must touch, if any."""

    literal: tuple[str, ...]
    rule: Rule
    body: str = ""
    site: str = ""
    touches: str = ""
    size: tuple[float, ...] = (0.0, 0.0, 0.0)
    joints: tuple[str, ...] = ()
    comparison: Comparison = "<"
    threshold: float = 0.0

    @classmethod
    def read(cls, control_env: Any, literal: Sequence[str]) -> Atom:
        """Compile a parsed BDDL literal, e.g. `("on", "bowl_1", "plate_1")`, of an hf-libero `ControlEnv`."""
        env = control_env.env
        predicate, names = literal[0].lower(), tuple(literal[1:])
        literal = (predicate, *names)
        if predicate in ("in", "on") and len(names) == 2:
            subject, target = names
            body = env.get_object(subject).root_body
            if target in env.object_sites_dict:
                size = tuple(float(s) for s in env.object_sites_dict[target].size)
                if predicate == "in":
                    return cls(literal, "in_site", body, target, size=size)
                parent = env.get_object(env.object_states_dict[target].parent_name)
                return cls(literal, "on_site", body, target, parent.root_body if parent else "", size)
            if predicate == "on":
                return cls(literal, "on_object", body, touches=env.get_object(target).root_body)
        if predicate in ("open", "close", "turnon", "turnoff") and len(names) == 1:
            return cls._read_joints(env, literal)
        raise HoneError(f"goal literal {literal} has no native rule; known: in, on, open, close, turnon, turnoff.")

    @classmethod
    def _read_joints(cls, env: Any, literal: tuple[str, ...]) -> Atom:
        predicate, name = literal
        if name in env.object_sites_dict:
            site = env.object_sites_dict[name]
            owner, joints = env.get_object(env.object_states_dict[name].parent_name), site.joints
        else:
            owner = env.get_object(name)
            joints = owner.joints
        low, high = sorted(owner.object_properties["articulation"][f"default_{predicate}_ranges"])
        if predicate == "turnon":
            comparison: Comparison = ">="
        elif predicate == "turnoff":
            comparison = "<"
        else:
            # The classes differ in sign (a cabinet opens towards negative values, a fridge towards positive): ask them.
            holds = owner.is_open if predicate == "open" else owner.is_close
            comparison = "<" if holds(-np.inf) else ">"
        threshold = high if comparison == "<" else low
        rule: Rule = "any_joint" if predicate in ("open", "turnon") else "all_joints"
        return cls(literal, rule, joints=tuple(joints), comparison=comparison, threshold=float(threshold))


@dataclass(frozen=True)
class GoalProgram:
    """A goal: all `atoms` hold. Free of ids, so it can be stored beside any compiled variant of the scene."""

    atoms: tuple[Atom, ...]

    @classmethod
    def read(cls, control_env: Any) -> GoalProgram:
        """Compile the goal of an hf-libero `ControlEnv`'s BDDL file."""
        return cls(tuple(Atom.read(control_env, literal) for literal in control_env.env.parsed_problem["goal_state"]))

    @property
    def literals(self) -> tuple[tuple[str, ...], ...]:
        """The goal as written: (predicate, argument, ...) of each atom."""
        return tuple(atom.literal for atom in self.atoms)

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(atom) for atom in self.atoms]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> GoalProgram:
        sequences = ("literal", "size", "joints")
        return cls(tuple(Atom(**{**atom, **{name: tuple(atom[name]) for name in sequences}}) for atom in data))

    def bind(self, model: mujoco.MjModel) -> BoundGoal:
        """Resolve the names on `model`."""
        if len(self.atoms) > MAX_ATOMS:
            raise HoneError(f"a goal has {len(self.atoms)} literals; at most {MAX_ATOMS} are supported.")
        atoms = np.zeros(len(self.atoms), ATOM_DTYPE)
        for row, atom in zip(atoms, self.atoms, strict=True):
            if len(atom.joints) > MAX_JOINTS:
                raise HoneError(f"{atom.literal} has {len(atom.joints)} joints; at most {MAX_JOINTS} are supported.")
            row["rule"] = RULES.index(atom.rule)
            row["body"] = model.body(atom.body).id if atom.body else -1
            row["site"] = model.site(atom.site).id if atom.site else -1
            row["other_body"] = model.body(atom.touches).id if atom.touches else -1
            row["root"] = model.body_rootid[row["body"]] if atom.body else -1
            row["other_root"] = model.body_rootid[row["other_body"]] if atom.touches else -1
            row["comparison"] = COMPARISONS.index(atom.comparison)
            row["num_joints"] = len(atom.joints)
            row["qpos"][: len(atom.joints)] = [model.joint(name).qposadr[0] for name in atom.joints]
            row["threshold"] = atom.threshold
            row["size"] = atom.size
        return BoundGoal(self, atoms)


@dataclass(frozen=True)
class BoundGoal:
    """A goal on one model: `atoms` is an array of `ATOM_DTYPE`, one row per literal of `program`."""

    program: GoalProgram
    atoms: np.ndarray

    def update_touching(self, model: mujoco.MjModel, data: mujoco.MjData, touching: int = 0) -> int:
        """Bit i: the two things atom i asks about touch. Bits of pairs of which neither is awake keep their value."""
        contacts: set[tuple[int, int]] | None = None
        sleep_enabled = bool(model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP)
        for i, atom in enumerate(self.atoms):
            pair = (int(atom["root"]), int(atom["other_root"]))
            if pair[1] < 0:
                continue
            if sleep_enabled and not any(data.body_awake[root] == mujoco.mjtSleepState.mjS_AWAKE for root in pair):
                continue
            if contacts is None:
                roots = model.body_rootid[model.geom_bodyid[data.contact.geom[: data.ncon]]]
                contacts = {(int(a), int(b)) for a, b in roots}
            touches = pair in contacts or pair[::-1] in contacts
            touching = touching | (1 << i) if touches else touching & ~(1 << i)
        return touching

    def truths(self, model: mujoco.MjModel, data: mujoco.MjData, touching: int | None = None) -> Bool[np.ndarray, " M"]:
        """Which literals hold. `touching` comes from the slot; without it contacts are read from `data`."""
        if touching is None:
            touching = self.update_touching(model, data)
        return np.array([_holds(atom, data, bool(touching >> i & 1)) for i, atom in enumerate(self.atoms)], dtype=bool)

    def evaluate(self, model: mujoco.MjModel, data: mujoco.MjData, touching: int | None = None) -> bool:
        """Whether the goal is reached."""
        return bool(self.truths(model, data, touching).all())


def _holds(atom: np.void, data: mujoco.MjData, touches: bool) -> bool:
    rule = RULES[atom["rule"]]
    if rule in ("any_joint", "all_joints"):
        q, threshold = data.qpos[atom["qpos"][: atom["num_joints"]]], atom["threshold"]
        comparison = COMPARISONS[atom["comparison"]]
        beyond = q < threshold if comparison == "<" else q > threshold if comparison == ">" else q >= threshold
        return bool(beyond.any() if rule == "any_joint" else beyond.all())
    position = data.xpos[atom["body"]]
    if rule == "on_object":
        other = data.xpos[atom["other_body"]]
        near = np.linalg.norm(other[:2] - position[:2]) < ON_OBJECT_RADIUS
        return bool(touches and other[2] <= position[2] and near)
    centre, rotation = data.site_xpos[atom["site"]], data.site_xmat[atom["site"]].reshape(3, 3)
    if rule == "in_site":
        # |R z| after the product: for a rotated site this is not the true bounding box, but it is what hf-libero tests.
        extent = np.abs(rotation @ atom["size"])
        low = centre - extent
        low[2] -= IN_SITE_BELOW
        return bool(np.all(position > low) and np.all(position < centre + extent))
    # R, not its transpose: the same remark.
    d, size = rotation @ (position - centre), atom["size"]
    above = size[2] - ON_SITE_BELOW < d[2] < size[2] + ON_SITE_ABOVE
    return bool(above and abs(d[0]) < size[0] and abs(d[1]) < size[1] and (touches or atom["other_root"] < 0))
