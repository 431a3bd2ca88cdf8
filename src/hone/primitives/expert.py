"""A scripted expert: reads the goal and the scene from the facts, picks each thing and puts it where it belongs.

Privileged: it sees object poses. It makes demonstrations of tasks whose goals are in `ORDER`, doors excepted.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.primitives.articulated import close_drawer, is_open, open_drawer, swept_by, turn_knob
from hone.primitives.grasps import Grasp, GraspSearch, find_grasps, opening_yaw, point_cloud, unlike
from hone.primitives.pushing import push
from hone.primitives.skills import OPEN, Command, Skill, Target, pick, place, scene_points, target_position

VERSION = "skills_v1"
"""Changes whenever the same scene would get other movements."""
ORDER = ("open", "turnon", "in", "on", "close")
"""What the expert can make true, in the order it does so."""
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

    def __init__(self, rests: Sequence[int] = ()) -> None:
        """`rests`: control steps to stand still before the first, second, … time that the hand closes or opens."""
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
                self._commands = solve(facts)
                return next(self._commands)
            return self._commands.send(facts)
        except StopIteration:
            return None


def solve(facts: Facts) -> Generator[Command, Facts, bool]:
    """Reach the goal: open and switch on, then put each thing in its place, then close; returns whether all went well.

    A drawer that something is to be put in is opened first.
    """
    unsupported = [atom for atom in facts.goal if atom[0] not in ORDER]
    if unsupported:
        raise HoneError(
            f"the scripted expert cannot do {unsupported[0]} (task '{facts.task_name}'); it knows {', '.join(ORDER)}."
        )
    done = True
    for row, atom in sorted(enumerate(facts.goal), key=lambda item: ORDER.index(item[1][0])):
        if not facts.satisfied[row]:
            facts, reached = yield from _reach(facts, atom)
            done &= reached
    return done


def _reach(facts: Facts, atom: tuple[str, ...]) -> Skill:
    """Make one literal of the goal true."""
    predicate, thing = atom[0], atom[1]
    if predicate in ("in", "on"):
        target = atom[2]
        joint = facts.regions[target].joint if target in facts.regions else None
        if joint is not None and facts.joints[joint].kind == "slide" and not is_open(facts.joints[joint]):
            if (aside := place_aside(facts, thing, joint)) is not None:
                facts, moved = yield from _transfer(facts, thing, aside)
                if not moved:
                    return facts, False
            facts, opened = yield from open_drawer(facts, joint)
            if not opened:
                return facts, False
        return (yield from _transfer(facts, thing, target))
    joint = joint_of(facts, thing)
    if predicate == "turnon":
        return (yield from turn_knob(facts, joint))
    if facts.joints[joint].kind != "slide":
        raise HoneError(f"the scripted expert cannot {predicate} '{thing}' (task '{facts.task_name}'): only drawers.")
    return (yield from (open_drawer if predicate == "open" else close_drawer)(facts, joint))


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


def joint_of(facts: Facts, thing: str) -> str:
    """The joint that moves a region (a drawer's inside), or the only one of a fixture (a stove's knob)."""
    region = facts.regions.get(thing)
    if region is not None and region.joint is not None:
        return region.joint
    names = [name for name, joint in facts.joints.items() if joint.fixture == thing]
    if len(names) != 1:
        raise HoneError(f"'{thing}' has {len(names)} joints; the scripted expert needs exactly one (say which region).")
    return names[0]


def _transfer(facts: Facts, thing: str, target: Target) -> Skill:
    """Pick and place, trying another grasp when one fails; push what cannot be grasped, if the place is as high."""
    tried: list[Grasp] = []
    for _ in range(ATTEMPTS):
        grasp = choose_grasp(facts, thing, target, tried)
        if grasp is None:
            goal = target_position(facts, target)
            if tried or abs(goal[2] - facts.objects[thing].position[2]) > LEVEL_M:
                return facts, False
            return (yield from push(facts, thing, goal))
        tried.append(grasp)
        facts, held = yield from pick(facts, grasp)
        if held:
            facts, placed = yield from place(facts, thing, target)
            if placed:
                return facts, True
    return facts, False


def choose_grasp(facts: Facts, thing: str, target: Target, tried: list[Grasp]) -> Grasp | None:
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
            target_position(facts, target),
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
