"""Carries a plan out: sub-goal by sub-goal, with what has to be done first, and another grasp where one fails."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from hone.envs.libero.facts import Facts
from hone.language.plan import Plan, Subgoal, Target, Verb
from hone.primitives.articulated import UP, close_drawer, let_go, open_drawer, turn_knob
from hone.primitives.clearing import Flat, before, drawer_path, free_place, in_the_way, push_path
from hone.primitives.conditions import held, is_enclosed, joint_of, reached, shut_in
from hone.primitives.doors import close_door, open_door
from hone.primitives.grasps import Grasp, GraspSearch, find_grasps, opening_yaw, point_cloud, unlike
from hone.primitives.inserting import insert
from hone.primitives.motions import Motions
from hone.primitives.places import Place, Position, Share, place_for, spot_for
from hone.primitives.skills import CLOSE, Command, Reach, Skill, move, scene_points
from hone.primitives.ways import find_way

ATTEMPTS = 4
"""Picks per thing before the expert gives up."""
ELSEWHERE_M, UNLIKE_M, UNLIKE_RAD = 0.04, 0.01, 0.3
"""How far from a grasp that failed the next is, if there is one; and by which place or turn it differs at least."""
LEVEL_M = 0.03
"""Places that differ less in height are on one level."""
SEARCHES = (
    GraspSearch(),
    GraspSearch(grid=0.005, yaws=24, margin=0.001),
    GraspSearch(grid=0.005, yaws=24, margin=0.001, depths=(0.008, 0.005)),
)
"""The second, finer and tighter, only where the first finds nothing: a bowl between the walls of a drawer. The third,
with the tips alone, where that finds nothing either: the rim of a bowl that is lower than a finger is thick."""


def carry_out(facts: Facts, plan: Plan, motions: Motions) -> Generator[Command, Facts, bool]:
    """Reach the sub-goals one after the other; returns whether all went well.

    What holds already is left alone. A pick is done together with the placing that follows it. A drawer or door that
    something is to be put behind is opened first. The plan has been checked (`check_grounded`, `check_reachable`).
    """
    done = True
    shares, doing = _shares(plan), _Doing(motions)
    for number, subgoal in enumerate(plan.subgoals):
        rest = plan.subgoals[number + 1 :]
        following = rest[0] if rest else None
        joined = subgoal.verb == "pick" and following is not None and following.thing == subgoal.thing
        if joined or reached(facts, subgoal):
            continue
        later = [s.thing for s in rest if s.target is not None]
        facts, well = yield from doing.reach(facts, subgoal, later, shares.get(subgoal))
        done &= well
    return done


def _shares(plan: Plan) -> dict[Subgoal, Share]:
    """What is put on a surface gets a share of it; what goes into a vessel is let fall in its middle."""
    together: dict[Target, list[Subgoal]] = {}
    for subgoal in plan.subgoals:
        if subgoal.verb == "place_on" and subgoal.target is not None:
            together.setdefault(subgoal.target, []).append(subgoal)
    return {subgoal: Share(number, len(group)) for group in together.values() for number, subgoal in enumerate(group)}


@dataclass(frozen=True)
class _Doing:
    """What a sub-goal takes, with whatever else has to be done first."""

    motions: Motions

    def reach(self, facts: Facts, subgoal: Subgoal, later: Sequence[str], share: Share | None) -> Skill:
        """Make one sub-goal true; `later` are things that will be moved after it."""
        verb, thing, target = subgoal.verb, subgoal.thing, subgoal.target
        if verb == "pick":
            return (yield from self.lift(facts, thing))
        if target is None:
            return (yield from self.operate(facts, verb, joint_of(facts, thing), later))
        if verb == "push":
            return (yield from self.push(facts, subgoal, place_for(facts, thing, target)))
        if isinstance(target, str) and (joint := shut_in(facts, target)) is not None:
            facts, opened = yield from self.operate(facts, "open", joint, [thing, *later])
            if not opened:
                return facts, False
        return (yield from self.transfer(facts, subgoal, target, share))

    def operate(self, facts: Facts, verb: Verb, joint: str, later: Sequence[str]) -> Skill:
        """Open, close or turn what is on a joint; before a drawer is opened, what it would meet is put aside.

        So is what will be moved `later`, if the open drawer would be above it.
        """
        if verb in ("turn_on", "turn_off"):
            return (yield from turn_knob(facts, joint, on=verb == "turn_on"))
        slides = facts.joints[joint].kind == "slide"
        if verb == "open" and slides:
            for thing in in_the_way(facts, joint, later):
                facts, moved = yield from self.put_aside(facts, thing, np.concatenate(drawer_path(facts, joint)))
                if not moved:
                    return facts, False
        if verb == "open":
            return (yield from (open_drawer if slides else open_door)(facts, joint))
        return (yield from (close_drawer if slides else close_door)(facts, joint))

    def push(self, facts: Facts, subgoal: Subgoal, goal: Position) -> Skill:
        """Push a thing, once what it would take along has been put aside, if that can be grasped."""
        for other in before(facts, subgoal.thing, goal):
            spot = free_place(facts, other, push_path(facts, subgoal.thing, goal))
            if spot is not None and choose_grasp(facts, other, spot, []) is not None:
                facts, _ = yield from self.transfer(facts, Subgoal("pick", other), spot)
        return (yield from self.motions.push(facts, subgoal, goal))

    def put_aside(self, facts: Facts, thing: str, path: Flat) -> Skill:
        spot = free_place(facts, thing, path)
        return (facts, False) if spot is None else (yield from self.transfer(facts, Subgoal("pick", thing), spot))

    def transfer(self, facts: Facts, subgoal: Subgoal, target: Place, share: Share | None = None) -> Skill:
        """Pick and place, trying another grasp when one fails; push what cannot be grasped, if the place is as high."""
        thing, tried = subgoal.thing, list[Grasp]()
        if isinstance(target, str) and is_enclosed(facts, target):
            return (yield from self.put_through(facts, thing, target))
        for _ in range(ATTEMPTS):
            place_at = place_for(facts, thing, target, share)
            grasp = choose_grasp(facts, thing, place_at, tried)
            if grasp is None:
                if tried or abs(place_at[2] - facts.objects[thing].position[2]) > LEVEL_M:
                    return facts, False
                return (yield from self.push(facts, subgoal, place_at))
            tried.append(grasp)
            facts, grasped = yield from self.motions.take(facts, subgoal, grasp)
            if grasped:
                spot = spot_for(facts, thing, target, share)
                facts, placed = yield from self.motions.bring(facts, subgoal, spot)
                if placed:
                    return facts, True
            facts, _ = yield from let_go(facts, facts.eef.rotation, UP)  # what slipped comes to rest meanwhile
        return facts, False

    def put_through(self, facts: Facts, thing: str, region: str) -> Skill:
        """Into a place that is closed from above."""
        tried: list[Grasp] = []
        for _ in range(ATTEMPTS):
            way = find_way(facts, thing, region, tried)
            if way is None:
                return facts, False
            tried.append(way.taken)
            facts, placed = yield from insert(facts, thing, region, way)
            if placed:
                return facts, True
            facts, _ = yield from let_go(facts, facts.eef.rotation, UP)
        return facts, False

    def lift(self, facts: Facts, thing: str) -> Skill:
        """Pick a thing up and hold it: 10 cm higher than it was."""
        above = facts.objects[thing].position + np.array([0.0, 0.0, 0.10])
        grasp = choose_grasp(facts, thing, above, [])
        if grasp is None:
            return facts, False
        facts, grasped = yield from self.motions.take(facts, Subgoal("pick", thing), grasp)
        if not grasped:
            return facts, False
        high = Reach(grasp.position + np.array([0.0, 0.0, 0.10]), grasp.rotation, float(grasp.position[2]) + 0.10)
        facts, _ = yield from move(facts, lambda _: high, CLOSE, tolerance=0.02)
        return facts, held(facts, thing)


def choose_grasp(facts: Facts, thing: str, place_at: Position, tried: list[Grasp]) -> Grasp | None:
    """The best grasp far from those tried, or else near them, but unlike; by the coarse search or else a finer one."""
    pose = facts.objects[thing]
    cloud, others = point_cloud(facts.shapes[thing], pose), scene_points(facts, without=thing)
    differences = ((ELSEWHERE_M, np.inf), (UNLIKE_M, UNLIKE_RAD)) if tried else ((UNLIKE_M, UNLIKE_RAD),)
    for search in SEARCHES:
        for distance, turn in differences:
            grasps = find_grasps(
                cloud,
                pose.position,
                others,
                opening_yaw(facts.eef.rotation),
                facts.base.position,
                place_at,
                search,
            )
            for grasp in unlike(grasps, tried, distance, turn):
                return grasp
    return None
