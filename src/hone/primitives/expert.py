"""A scripted expert: carries a plan out, by picking each thing and putting it where it belongs.

Privileged: it sees object poses. For demonstrations its plan is the simulator's goal (`goal_plan`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.language.plan import Plan, Refusal, Subgoal, Target, Verb
from hone.primitives.articulated import close_drawer, open_drawer, turn_knob
from hone.primitives.clearing import free_place, in_the_way
from hone.primitives.conditions import held, hindrance, joint_of, reached, shut_in
from hone.primitives.doors import close_door, open_door
from hone.primitives.grasps import Grasp, GraspSearch, find_grasps, opening_yaw, point_cloud, unlike
from hone.primitives.places import Place, Position, Share, place_for, spot_for
from hone.primitives.pushing import push
from hone.primitives.skills import CLOSE, OPEN, Command, Reach, Skill, move, pick, place, scene_points

VERSION = "skills_v2"
"""Changes whenever the same scene would get other movements."""
ORDER = ("open", "turnon", "turnoff", "in", "on", "close")
"""What the expert can make true, in the order it does so; but what nothing is put into is closed first."""
VERB_OF: dict[str, Verb] = {
    "open": "open",
    "turnon": "turn_on",
    "turnoff": "turn_off",
    "in": "place_in",
    "on": "place_on",
    "close": "close",
}
ATTEMPTS = 4
"""Picks per thing before the expert gives up."""
LEVEL_M = 0.03
"""Places that differ less in height are on one level."""
SEARCHES = (GraspSearch(), GraspSearch(grid=0.005, yaws=24, margin=0.001))
"""The second, finer and tighter, only where the first finds nothing: a bowl between the walls of a drawer."""


@dataclass(frozen=True)
class Manner:
    """How a demonstration is given. The default is the machine's way: undisturbed and without a pause."""

    noise: float = 0.0
    """Standard deviation, in action units, of noise added to what the robot executes; 0.1 to 0.3 are usual. The labels
    stay the expert's corrections (DART, arXiv:1703.09327), so that a clone also learns from states off the path."""
    longest_rest: int = 0
    """Before the hand opens or closes it rests for up to this many control steps, as people do.

    A policy without memory cannot tell how long it has rested, so it learns to rest for ever with some probability.
    Demonstrations by people have such idle steps; OpenVLA (arXiv:2406.09246) filters them out of LIBERO's."""

    def __post_init__(self) -> None:
        if self.noise < 0 or self.longest_rest < 0:
            raise HoneError(f"{self}: neither number can be negative.")


class Expert:
    """One episode of the expert: `act(facts)` gives the command of the next control step, `None` when it has ended."""

    def __init__(self, rests: Sequence[int] = (), plan: Plan | None = None) -> None:
        """`rests`: control steps to stand still before the first, second, … time that the hand closes or opens.

        Without a `plan` it does what the simulator's goal asks for.
        """
        self._plan = plan
        self._commands: Generator[Command, Facts, bool] | None = None
        self._rests = list(rests)
        self._hand, self._resting = OPEN, 0
        self._next: Command | None = None

    def act(self, facts: Facts) -> Command | None:
        if self._resting:
            self._resting -= 1
        else:
            self._next = self._think(facts)
            if self._next is not None and self._next.action[6] != self._hand and self._rests:
                self._resting = self._rests.pop(0)
        if self._resting:
            return Command(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, self._hand]))
        if self._next is not None:
            self._hand = float(self._next.action[6])
        return self._next

    def _think(self, facts: Facts) -> Command | None:
        try:
            if self._commands is None:
                self._commands = solve(facts, self._plan or goal_plan(facts))
                return next(self._commands)
            return self._commands.send(facts)
        except StopIteration:
            return None


def goal_plan(facts: Facts) -> Plan:
    """The simulator's own goal as a plan: what language has to arrive at, and never looks at."""
    unsupported = [atom for atom in facts.goal if atom[0] not in ORDER]
    if unsupported:
        raise HoneError(
            f"the scripted expert cannot do {unsupported[0]} (task '{facts.task_name}'); it knows {', '.join(ORDER)}."
        )
    subgoals: list[Subgoal] = []
    filled = {atom[2] for atom in facts.goal if len(atom) == 3}
    aloof = [atom for atom in facts.goal if atom[0] == "close" and atom[1] not in filled]
    for atom in sorted(facts.goal, key=lambda atom: -1 if atom in aloof else ORDER.index(atom[0])):
        if atom[0] in ("in", "on"):
            subgoals.append(Subgoal("pick", atom[1]))
        subgoals.append(Subgoal(VERB_OF[atom[0]], *atom[1:]))
    return Plan(facts.task_name, tuple(subgoals), "goal")


def solve(facts: Facts, plan: Plan) -> Generator[Command, Facts, bool]:
    """Reach the sub-goals one after the other; returns whether all went well.

    What holds already is left alone. A pick is done together with the placing that follows it. A drawer or door that
    something is to be put behind is opened first.
    """
    done = True
    shares = _shares(plan)
    for number, subgoal in enumerate(plan.subgoals):
        rest = plan.subgoals[number + 1 :]
        following = rest[0] if rest else None
        joined = subgoal.verb == "pick" and following is not None and following.thing == subgoal.thing
        if joined or reached(facts, subgoal):
            continue
        if (reason := hindrance(facts, subgoal)) is not None:
            raise Refusal("unreachable", reason)
        later = [s.thing for s in rest if s.target is not None]
        facts, well = yield from _reach(facts, subgoal, later, shares.get(subgoal))
        done &= well
    return done


def _shares(plan: Plan) -> dict[Subgoal, Share]:
    """What is put on a surface gets a share of it; what goes into a vessel is let fall in its middle."""
    together: dict[Target, list[Subgoal]] = {}
    for subgoal in plan.subgoals:
        if subgoal.verb == "place_on" and subgoal.target is not None:
            together.setdefault(subgoal.target, []).append(subgoal)
    return {subgoal: Share(number, len(group)) for group in together.values() for number, subgoal in enumerate(group)}


def _reach(facts: Facts, subgoal: Subgoal, later: Sequence[str], share: Share | None) -> Skill:
    """Make one sub-goal true; `later` are things that will be moved after it."""
    verb, thing, target = subgoal.verb, subgoal.thing, subgoal.target
    if verb == "pick":
        return (yield from _lift(facts, thing))
    if target is None:
        return (yield from _operate(facts, verb, joint_of(facts, thing), later))
    if verb == "push":
        return (yield from push(facts, thing, place_for(facts, thing, target)))
    if isinstance(target, str) and (joint := shut_in(facts, target)) is not None:
        facts, opened = yield from _operate(facts, "open", joint, [thing, *later])
        if not opened:
            return facts, False
    return (yield from _transfer(facts, thing, target, share))


def _operate(facts: Facts, verb: Verb, joint: str, later: Sequence[str]) -> Skill:
    """Open, close or turn what is on a joint; before a drawer is opened, what it would meet is put aside.

    So is what will be moved `later`, if the open drawer would be above it.
    """
    if verb in ("turn_on", "turn_off"):
        return (yield from turn_knob(facts, joint, on=verb == "turn_on"))
    slides = facts.joints[joint].kind == "slide"
    if verb == "open" and slides:
        for thing in in_the_way(facts, joint, later):
            facts, moved = yield from _put_aside(facts, thing, joint)
            if not moved:
                return facts, False
    if verb == "open":
        return (yield from (open_drawer if slides else open_door)(facts, joint))
    return (yield from (close_drawer if slides else close_door)(facts, joint))


def _put_aside(facts: Facts, thing: str, joint: str) -> Skill:
    spot = free_place(facts, thing, joint)
    return (facts, False) if spot is None else (yield from _transfer(facts, thing, spot))


def _transfer(facts: Facts, thing: str, target: Place, share: Share | None = None) -> Skill:
    """Pick and place, trying another grasp when one fails; push what cannot be grasped, if the place is as high."""
    tried: list[Grasp] = []
    for _ in range(ATTEMPTS):
        place_at = place_for(facts, thing, target, share)
        grasp = choose_grasp(facts, thing, place_at, tried)
        if grasp is None:
            if tried or abs(place_at[2] - facts.objects[thing].position[2]) > LEVEL_M:
                return facts, False
            return (yield from push(facts, thing, place_at))
        tried.append(grasp)
        facts, held = yield from pick(facts, grasp)
        if held:
            spot = spot_for(facts, thing, target, share)
            facts, placed = yield from place(facts, thing, spot.position, spot.turn)
            if placed:
                return facts, True
    return facts, False


def _lift(facts: Facts, thing: str) -> Skill:
    """Pick a thing up and hold it: 10 cm higher than it was."""
    above = facts.objects[thing].position + np.array([0.0, 0.0, 0.10])
    grasp = choose_grasp(facts, thing, above, [])
    if grasp is None:
        return facts, False
    facts, grasped = yield from pick(facts, grasp)
    if not grasped:
        return facts, False
    high = Reach(grasp.position + np.array([0.0, 0.0, 0.10]), grasp.rotation, float(grasp.position[2]) + 0.10)
    facts, _ = yield from move(facts, lambda _: high, CLOSE, tolerance=0.02)
    return facts, held(facts, thing)


def choose_grasp(facts: Facts, thing: str, place_at: Position, tried: list[Grasp]) -> Grasp | None:
    """The best grasp unlike those tried, by the coarse search or else the fine one."""
    pose = facts.objects[thing]
    cloud, others = point_cloud(facts.shapes[thing], pose), scene_points(facts, without=thing)
    for search in SEARCHES:
        grasps = find_grasps(
            cloud,
            pose.position,
            others,
            opening_yaw(facts.eef.rotation),
            facts.base.position,
            place_at,
            search,
        )
        for grasp in unlike(grasps, tried):
            return grasp
    return None


def correlated_noise(
    previous: Float64[np.ndarray, " 6"], scale: float, generator: np.random.Generator, correlation: float = 0.8
) -> Float64[np.ndarray, " 6"]:
    """The next value of an Ornstein-Uhlenbeck process on the six motion numbers of an action.

    Stationary standard deviation `scale` (action units) on the position and 0.3 `scale` on the rotation.
    """
    deviation = scale * np.array([1.0, 1.0, 1.0, 0.3, 0.3, 0.3])
    fresh = generator.normal(size=6) * deviation
    return correlation * previous + np.sqrt(1.0 - correlation**2) * fresh
