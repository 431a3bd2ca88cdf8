"""What is open, held, placed and reached, read from the facts alone: poses, contacts and joints.

These are not the simulator's success check (`Facts.satisfied`), which a plan made from words must not look at. They use
the rules LIBERO's predicates follow, and ask besides that the hand has let go.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Joint
from hone.errors import HoneError
from hone.language.plan import Beside, Subgoal
from hone.primitives.grasps import corners, point_cloud

ON_RADIUS_M = 0.03
"""LIBERO's: a thing is on another if they touch and their middles are this near, seen from above."""
ABOVE_REGION_M = 0.10
CEILING_M = 0.05
"""Lowest height above a region's middle of what closes it from above."""
WIDE_ENOUGH = 0.6
"""Share of a drawer's or door's way from which on things can be put in."""
ARRIVED_M = 0.03
LEVEL_M = 0.03
"""Things whose undersides differ less in height stand on one level."""
GAP_M = 0.03
"""Between a thing and the one it is put beside."""
SIDES = {"left": (0.0, -1.0), "right": (0.0, 1.0), "front": (1.0, 0.0), "back": (-1.0, 0.0)}


def is_open(joint: Joint) -> bool:
    """LIBERO's condition: beyond 0.14 of a drawer's 0.16 m, 1.3 of a door's 2.094 rad."""
    return abs(joint.position) > (0.875 if joint.kind == "slide" else 0.621) * abs(open_end(joint))


def is_closed(joint: Joint) -> bool:
    """Past zero, away from the open end (a drawer), or within 0.005 rad of it (a door): LIBERO's conditions."""
    beyond = joint.position * np.sign(open_end(joint))
    return bool(beyond < (0.0 if joint.kind == "slide" else 0.005))


def open_end(joint: Joint) -> float:
    return max(joint.range, key=abs)


def is_on(joint: Joint) -> bool:
    """A stove's knob, by LIBERO's threshold."""
    return joint.position >= 0.5


def joint_of(facts: Facts, thing: str) -> str:
    """The joint that moves a region (a drawer's inside), or the only one of a fixture (a stove's knob)."""
    region = facts.regions.get(thing)
    if region is not None and region.joint is not None:
        return region.joint
    parent = region.parent if region is not None else None
    names = [name for name, joint in facts.joints.items() if joint.fixture in (thing, parent)]
    if len(names) != 1:
        raise HoneError(f"'{thing}' has {len(names)} joints; exactly one is needed (say which region).")
    return names[0]


def shut_in(facts: Facts, target: str) -> str | None:
    """The drawer's or door's joint that has to be opened before anything can go to `target`, if it is shut."""
    region = facts.regions.get(target)
    if region is None:
        return None
    joint = region.joint
    if is_enclosed(facts, target):
        doors = [n for n, j in facts.joints.items() if j.fixture == region.parent and j.kind == "hinge"]
        joint = doors[0] if doors else None
    if joint is None:
        return None
    opened = abs(facts.joints[joint].position) / abs(open_end(facts.joints[joint]))
    return joint if opened < WIDE_ENOUGH else None


def is_enclosed(facts: Facts, target: object) -> bool:
    """Something of a fixture is over the region's middle: the inside of a microwave, not a drawer or a stove."""
    region = facts.regions.get(target) if isinstance(target, str) else None
    if region is None or region.joint is not None or region.parent not in facts.fixtures:
        return False
    points = point_cloud(facts.shapes[region.parent], facts.fixtures[region.parent]) - region.pose.position
    over = np.linalg.norm(points[:, :2], axis=1) < 0.02
    return bool((points[over, 2] > CEILING_M).any())


def held(facts: Facts, thing: str) -> bool:
    """Between the fingers and off what it stood on: it touches the robot and nothing else."""
    touching = {other for pair in facts.contacts if thing in pair for other in pair - {thing}}
    return touching == {"robot"}


def released(facts: Facts, thing: str) -> bool:
    return frozenset((thing, "robot")) not in facts.contacts


def beside(facts: Facts, thing: str, place: Beside) -> Float64[np.ndarray, " 3"]:
    """Where the origin of `thing` has to be: a gap away from the anchor, on the level of what stands lower."""
    anchor = {**facts.objects, **facts.fixtures}[place.anchor]
    own = corners(facts.shapes[thing], facts.objects[thing]) - facts.objects[thing].position
    other = corners(facts.shapes[place.anchor], anchor)
    way = np.array(SIDES[place.side])
    edge = float(((other[:, :2] - anchor.position[:2]) @ way).max())
    back = float((own[:, :2] @ -way).max())
    flat = anchor.position[:2] + (edge + GAP_M + back) * way
    higher = max(0.0, float(own[:, 2].min() + facts.objects[thing].position[2] - other[:, 2].min()))
    drop = higher if higher > LEVEL_M else 0.0
    return np.append(flat, facts.objects[thing].position[2] - drop)


def reached(facts: Facts, subgoal: Subgoal) -> bool:
    """The effect of a sub-goal holds."""
    verb, thing, target = subgoal.verb, subgoal.thing, subgoal.target
    if verb == "pick":
        return held(facts, thing)
    if verb in ("open", "close", "turn_on", "turn_off"):
        joint = facts.joints[joint_of(facts, thing)]
        return {"open": is_open, "close": is_closed, "turn_on": is_on, "turn_off": lambda j: not is_on(j)}[verb](joint)
    assert target is not None
    if isinstance(target, Beside):
        offset = facts.objects[thing].position[:2] - beside(facts, thing, target)[:2]
        return released(facts, thing) and float(np.linalg.norm(offset)) < ARRIVED_M
    return released(facts, thing) and stands_at(facts, thing, target)


def stands_at(facts: Facts, thing: str, target: str) -> bool:
    """In a region or on top of it (not of one that is closed from above), or on another thing."""
    position = facts.objects[thing].position
    if target in facts.regions:
        region = facts.regions[target]
        local = region.pose.rotation.T @ (position - region.pose.position)
        inside = np.abs(local) < region.half_size + np.array([0.0, 0.0, 0.01])
        if inside.all() or is_enclosed(facts, target):
            return bool(inside.all())
        on_top = region.half_size[2] - 0.005 < local[2] < region.half_size[2] + ABOVE_REGION_M
        touches = region.parent is None or frozenset((thing, region.parent)) in facts.contacts
        return bool(inside[:2].all() and on_top and touches)
    under = {**facts.objects, **facts.fixtures}[target]
    near = float(np.linalg.norm(position[:2] - under.position[:2])) < ON_RADIUS_M
    return near and under.position[2] <= position[2] and frozenset((thing, target)) in facts.contacts
