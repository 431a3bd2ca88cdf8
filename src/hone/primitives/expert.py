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
from hone.language.plan import Plan, Refusal, Subgoal, Verb
from hone.primitives.articulated import close_drawer, open_drawer, swept_by, turn_knob
from hone.primitives.conditions import held, hindrance, joint_of, reached, shut_in
from hone.primitives.doors import close_door, open_door
from hone.primitives.grasps import Grasp, GraspSearch, find_grasps, opening_yaw, point_cloud, unlike
from hone.primitives.places import Place, Position, place_for, turn_for
from hone.primitives.pushing import push
from hone.primitives.skills import CLOSE, OPEN, Command, Reach, Skill, move, pick, place, scene_points

VERSION = "skills_v2"
"""Changes whenever the same scene would get other movements."""
ORDER = ("open", "turnon", "turnoff", "in", "on", "close")
"""What the expert can make true, in the order it does so."""
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
ROOM_M = 0.02
"""Least distance from the path of a drawer at which a thing may stay."""
FARTHEST_M = 0.75
"""From the robot's foot: where a thing may be put aside."""
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
    for atom in sorted(facts.goal, key=lambda atom: ORDER.index(atom[0])):
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
    for subgoal, following in zip(plan.subgoals, (*plan.subgoals[1:], None), strict=True):
        joined = subgoal.verb == "pick" and following is not None and following.thing == subgoal.thing
        if joined or reached(facts, subgoal):
            continue
        if (reason := hindrance(facts, subgoal)) is not None:
            raise Refusal("unreachable", reason)
        facts, well = yield from _reach(facts, subgoal)
        done &= well
    return done


def _reach(facts: Facts, subgoal: Subgoal) -> Skill:
    """Make one sub-goal true."""
    verb, thing, target = subgoal.verb, subgoal.thing, subgoal.target
    if verb == "pick":
        return (yield from _lift(facts, thing))
    if target is None:
        return (yield from _operate(facts, verb, joint_of(facts, thing)))
    if verb == "push":
        return (yield from push(facts, thing, place_for(facts, thing, target)))
    if isinstance(target, str) and (joint := shut_in(facts, target)) is not None:
        if facts.joints[joint].kind == "slide" and (aside := place_aside(facts, thing, joint)) is not None:
            facts, moved = yield from _transfer(facts, thing, aside)
            if not moved:
                return facts, False
        facts, opened = yield from _operate(facts, "open", joint)
        if not opened:
            return facts, False
    return (yield from _transfer(facts, thing, target))


def _operate(facts: Facts, verb: Verb, joint: str) -> Skill:
    """Open, close or turn what is on a joint."""
    if verb in ("turn_on", "turn_off"):
        return (yield from turn_knob(facts, joint, on=verb == "turn_on"))
    slides = facts.joints[joint].kind == "slide"
    if verb == "open":
        return (yield from (open_drawer if slides else open_door)(facts, joint))
    return (yield from (close_drawer if slides else close_door)(facts, joint))


def place_aside(facts: Facts, thing: str, joint: str) -> Float64[np.ndarray, " 3"] | None:
    """The nearest free place for a thing that an opening drawer, or the hand that pulls it, would meet; else None."""
    here = facts.objects[thing].position
    own = point_cloud(facts.shapes[thing], facts.objects[thing])[:, :2] - here[:2]
    radius = float(np.linalg.norm(own, axis=1).max())
    swept = swept_by(facts, joint)[:, :2]
    if np.linalg.norm(swept - here[:2], axis=1).min() > radius + ROOM_M:
        return None
    others = scene_points(facts, without=thing)
    taken = np.concatenate([swept, others[others[:, 2] > here[2] - ROOM_M, :2]])
    grid = np.arange(-0.30, 0.301, 0.02)
    places = here[:2] + np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    places = places[np.linalg.norm(places - facts.base.position[:2], axis=1) < FARTHEST_M]
    places = places[np.argsort(np.linalg.norm(places - here[:2], axis=1))]
    for spot in places:
        if np.linalg.norm(taken - spot, axis=1).min() > radius + ROOM_M:
            return np.append(spot, here[2])
    return None


def _transfer(facts: Facts, thing: str, target: Place) -> Skill:
    """Pick and place, trying another grasp when one fails; push what cannot be grasped, if the place is as high."""
    tried: list[Grasp] = []
    for _ in range(ATTEMPTS):
        place_at = place_for(facts, thing, target)
        grasp = choose_grasp(facts, thing, place_at, tried)
        if grasp is None:
            if tried or abs(place_at[2] - facts.objects[thing].position[2]) > LEVEL_M:
                return facts, False
            return (yield from push(facts, thing, place_at))
        tried.append(grasp)
        facts, held = yield from pick(facts, grasp)
        if held:
            spot, turn = place_for(facts, thing, target), turn_for(facts, thing, target)
            facts, placed = yield from place(facts, thing, spot, turn)
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
