"""Dynamic movement primitives: a movement as a spring that pulls to a goal, and a learned force that shapes the way.

Ijspeert et al. 2013 (doi:10.1162/NECO_a_00393). With s = t / duration, phase x = exp(-a s), v = dy/ds, per dimension

    dv/ds = alpha (beta (g - y) - v) + f(x)      f(x) = x sum_i w_i psi_i(x) / sum_i psi_i(x)

The phase fades, so the goal is reached whatever the weights; the weights come from one demonstration by ridge
regression. Start, goal, duration and weights are plain fields: `dataclasses.replace(dmp, goal=...)` is the same
movement to another goal. What a new goal does to the shape is `DmpConfig.scaling`. For a given start, goal and duration
the path is linear in the weights, which is how `through` and `around` bend it with the least added weights.

Rotations are unit quaternions (w, x, y, z); the difference of two is the rotation vector from one to the other (rad),
as in Ude et al. 2014 (doi:10.1109/ICRA.2014.6907291), and v is the angular velocity times the duration.

Compared with the package `movement_primitives` (0.9.1), which the tests hold this against: fitted weights are the same.
Roll-outs differ by the package's step: it evaluates the force up to one step early, here it is in time.
Beyond it there are Ijspeert's goal scaling, via points and obstacles; not here are coupling terms, final velocities and
tracking feedback.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

from hone.errors import HoneError, unknown_name

Scaling = Literal["none", "pastor", "ijspeert"]
SUBSTEP = 0.002
"""Longest step of the integration of rotations, as a share of the duration."""


@dataclass(frozen=True)
class DmpConfig:
    """What the weights mean."""

    num_basis: int = 25
    """Weights per dimension."""
    alpha: float = 25.0
    """Stiffness of the spring; with `beta = alpha / 4` it is critically damped."""
    phase_end: float = 0.01
    """The phase when the duration has passed."""
    overlap: float = 0.8
    """What a basis function has at its neighbour's centre."""
    ridge: float = 1e-8
    """Weight of the squared weights in the fit."""
    scaling: Scaling = "pastor"
    """What another start or goal does to the shape. `none`: the force stays, so the path jumps off in the direction of
    the change. `pastor` (Pastor et al. 2009): the change fades in with the phase, and never blows up. `ijspeert`: each
    dimension is stretched by g - y0, so the demonstration must move in each."""

    def __post_init__(self) -> None:
        if self.num_basis < 2:
            raise HoneError(f"a movement primitive needs at least 2 basis functions, not {self.num_basis}.")
        if not 0 < self.phase_end < 1 or not 0 < self.overlap < 1:
            raise HoneError(f"phase_end {self.phase_end} and overlap {self.overlap} must lie between 0 and 1.")
        if self.scaling not in get_args(Scaling):
            raise unknown_name("goal scaling", self.scaling, get_args(Scaling))

    @property
    def beta(self) -> float:
        return self.alpha / 4

    def phase(self, s: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
        """From 1 at s = 0 to `phase_end` at s = 1."""
        return self.phase_end**s

    def basis(self, s: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, "T N"]:
        """The force per unit of each weight: normalised Gaussians of the phase, times the phase."""
        centers = self.phase(np.linspace(0.0, 1.0, self.num_basis))
        apart = np.diff(centers)
        widths = -np.log(self.overlap) / np.append(apart, apart[-1]) ** 2
        x = self.phase(s)[:, None]
        psi = np.exp(-widths * (x - centers) ** 2)
        return x * psi / psi.sum(1, keepdims=True)


@dataclass(frozen=True)
class Dmp:
    """A movement of `D` numbers, from `start` to `goal` in `duration` seconds."""

    config: DmpConfig
    start: Float64[np.ndarray, " D"]
    goal: Float64[np.ndarray, " D"]
    duration: float
    weights: Float64[np.ndarray, "D N"]

    @staticmethod
    def fit(times: Float64[np.ndarray, " T"], path: Float64[np.ndarray, "T D"], config: DmpConfig | None = None) -> Dmp:
        """The primitive that moves as `path` did. It is taken to start and end at rest."""
        config = config or DmpConfig()
        s, duration = _shares(times, path)
        velocity = np.gradient(path, s, axis=0)
        start, goal = path[0], path[-1]
        weights = _weights(config, s, velocity, goal - path, goal - start)
        return Dmp(config, start, goal, duration, weights)

    def roll_out(self, dt: float) -> Float64[np.ndarray, "T D"]:
        """The path every `dt` seconds from start to duration, both included (Runge-Kutta of order 4)."""
        config, steps = self.config, _steps(self.duration, dt)
        halves = np.linspace(0.0, 1.0, 2 * steps + 1)  # the force at, between and after the steps
        force = _force(config, halves, self.weights, self.goal - self.start)
        h, y, v = 1.0 / steps, self.start.copy(), np.zeros_like(self.start)
        path = [y]
        for k in range(steps):
            k1 = v, self._pull(y, v, force[2 * k])
            k2 = v + h / 2 * k1[1], self._pull(y + h / 2 * k1[0], v + h / 2 * k1[1], force[2 * k + 1])
            k3 = v + h / 2 * k2[1], self._pull(y + h / 2 * k2[0], v + h / 2 * k2[1], force[2 * k + 1])
            k4 = v + h * k3[1], self._pull(y + h * k3[0], v + h * k3[1], force[2 * k + 2])
            y = y + h / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
            v = v + h / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
            path.append(y)
        return np.stack(path)

    def through(
        self, shares: Float64[np.ndarray, " M"], points: Float64[np.ndarray, "M D"], resolution: int = 200
    ) -> Dmp:
        """The same movement, bent by the least added weights so that it is at `points` after `shares` of its duration.

        `resolution`: steps of the roll-out it is solved on. A dimension that is to stay as it is gets its own value.
        """
        if len(shares) > self.config.num_basis or not np.all((shares > 0) & (shares < 1)):
            raise HoneError(f"via points need shares between 0 and 1, and at most {self.config.num_basis} of them.")
        rows = np.maximum(np.round(shares * resolution).astype(int), 1)
        missing = points - self.roll_out(self.duration / resolution)[rows]
        added = np.linalg.pinv(self._responses(resolution)[rows]) @ missing
        return replace(self, weights=self.weights + (added / self._stretch()).T)

    def around(
        self, center: Float64[np.ndarray, " K"], radius: float, resolution: int = 200, attempts: int = 50
    ) -> Dmp:
        """The same movement, bent so that its first `K` numbers stay `radius` away from `center`.

        Each attempt pushes the point that is deepest inside straight out, or sideways where it passes the very middle.
        """
        size, bent = len(center), self
        ends = np.stack([self.start, self.goal])[:, :size]
        if np.any(np.linalg.norm(ends - center, axis=1) < radius):
            raise HoneError(f"start or goal is less than {radius} from the obstacle at {center}; nothing leads around.")
        for _ in range(attempts):
            path = bent.roll_out(bent.duration / resolution)
            away = path[:, :size] - center
            distance = np.linalg.norm(away, axis=1)
            row = int(distance.argmin())
            if distance[row] >= radius:
                return bent
            aside = away[row] if distance[row] > 0.01 * radius else _sideways(path[-1, :size] - path[0, :size])
            point = path[row].copy()
            point[:size] = center + 1.1 * radius * aside / np.linalg.norm(aside)
            bent = bent.through(np.array([row / resolution]), point[None], resolution)
        raise HoneError(f"no way found around the obstacle of radius {radius} at {center} in {attempts} attempts.")

    def _pull(self, y: np.ndarray, v: np.ndarray, force: np.ndarray) -> np.ndarray:
        return self.config.alpha * (self.config.beta * (self.goal - y) - v) + force

    def _responses(self, steps: int) -> Float64[np.ndarray, "T N"]:
        """What one unit of each weight adds to the path."""
        rest, each = np.zeros(self.config.num_basis), np.eye(self.config.num_basis)
        return Dmp(replace(self.config, scaling="none"), rest, rest, 1.0, each).roll_out(1.0 / steps)

    def _stretch(self) -> Float64[np.ndarray, " D"]:
        span = self.goal - self.start
        return span if self.config.scaling == "ijspeert" else np.ones_like(span)


@dataclass(frozen=True)
class RotationDmp:
    """A turn from one unit quaternion to another; see `Dmp`."""

    config: DmpConfig
    start: Float64[np.ndarray, " 4"]
    goal: Float64[np.ndarray, " 4"]
    duration: float
    weights: Float64[np.ndarray, "3 N"]

    @staticmethod
    def fit(
        times: Float64[np.ndarray, " T"], turns: Float64[np.ndarray, "T 4"], config: DmpConfig | None = None
    ) -> RotationDmp:
        config = config or DmpConfig()
        s, duration = _shares(times, turns)
        before, after = np.maximum(np.arange(len(s)) - 1, 0), np.minimum(np.arange(len(s)) + 1, len(s) - 1)
        velocity = turn_between(turns[before], turns[after]) / (s[after] - s[before])[:, None]
        start, goal = turns[0], turns[-1]
        left, span = turn_between(turns, goal), turn_between(start, goal)
        return RotationDmp(config, start, goal, duration, _weights(config, s, velocity, left, span))

    def roll_out(self, dt: float) -> Float64[np.ndarray, "T 4"]:
        """The turn every `dt` seconds from start to duration, both included (semi-implicit Euler in finer steps)."""
        config, steps = self.config, _steps(self.duration, dt)
        finer = int(np.ceil(1.0 / (steps * SUBSTEP)))
        h = 1.0 / (steps * finer)
        between = (np.arange(steps * finer) + 0.5) * h
        force = _force(config, between, self.weights, turn_between(self.start, self.goal))
        turn, v = self.start.copy(), np.zeros(3)
        turns = [turn]
        for k in range(steps * finer):
            v = v + h * (config.alpha * (config.beta * turn_between(turn, self.goal) - v) + force[k])
            turn = _multiply(_exponential(h * v), turn)
            if (k + 1) % finer == 0:
                turns.append(turn)
        return np.stack(turns)


@dataclass(frozen=True)
class PoseDmp:
    """A hand's movement: position (m) and gripper (-1 open, +1 closed) in `line`, orientation in `turn`.

    A gripper's command is its sign. Its row is smooth, so it crosses zero a little off the demonstration's time.
    """

    line: Dmp
    turn: RotationDmp

    @staticmethod
    def fit(
        times: Float64[np.ndarray, " T"],
        positions: Float64[np.ndarray, "T 3"],
        turns: Float64[np.ndarray, "T 4"],
        gripper: Float64[np.ndarray, " T"],
        config: DmpConfig | None = None,
    ) -> PoseDmp:
        line = np.column_stack([positions, gripper])
        return PoseDmp(Dmp.fit(times, line, config), RotationDmp.fit(times, turns, config))

    def to(self, position: Float64[np.ndarray, " 3"], turn: Float64[np.ndarray, " 4"], duration: float) -> PoseDmp:
        """The same movement to another pose, in `duration` seconds."""
        goal = np.append(position, self.line.goal[3])
        return PoseDmp(
            replace(self.line, goal=goal, duration=duration), replace(self.turn, goal=turn, duration=duration)
        )

    def roll_out(
        self, dt: float
    ) -> tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T 4"], Float64[np.ndarray, " T"]]:
        """Positions, orientations and gripper every `dt` seconds."""
        line = self.line.roll_out(dt)
        return line[:, :3], self.turn.roll_out(dt), line[:, 3]


def turn_between(a: Float64[np.ndarray, "*n 4"], b: Float64[np.ndarray, "*m 4"]) -> Float64[np.ndarray, "*k 3"]:
    """The rotation vector (rad, at most a half turn) that takes `a` to `b`, in the world frame."""
    difference = _multiply(b, a * np.array([1.0, -1.0, -1.0, -1.0]))
    difference = np.where(
        difference[..., :1] < 0, -difference, difference
    )  # a quaternion and its negative are one turn
    sine = np.linalg.norm(difference[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, difference[..., :1])
    return difference[..., 1:] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product: the turn `b`, then `a`."""
    scalar = a[..., :1] * b[..., :1] - np.sum(a[..., 1:] * b[..., 1:], axis=-1, keepdims=True)
    vector = a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + np.cross(a[..., 1:], b[..., 1:])
    return np.concatenate([scalar, vector], axis=-1)


def _exponential(vector: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, " 4"]:
    """The unit quaternion of a rotation vector."""
    angle = float(np.linalg.norm(vector))
    return np.append(np.cos(angle / 2), np.sinc(angle / (2 * np.pi)) / 2 * vector)


def _shares(times: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, float]:
    """Times as shares of the duration, and the duration; checks a demonstration."""
    if len(times) != len(path) or len(times) < 3:
        raise HoneError(f"a demonstration needs at least 3 points and a time for each, not {len(path)}, {len(times)}.")
    if not np.all(np.diff(times) > 0) or not np.isfinite(path).all():
        raise HoneError("a demonstration needs times that grow and points that are finite.")
    duration = float(times[-1] - times[0])
    return (times - times[0]) / duration, duration


def _weights(
    config: DmpConfig, s: np.ndarray, velocity: np.ndarray, left: np.ndarray, span: np.ndarray
) -> Float64[np.ndarray, "D N"]:
    """Ridge regression of the force that the movement needed; `left` is what remained to the goal."""
    velocity[-1] = 0.0
    acceleration = np.gradient(velocity, s, axis=0)
    acceleration[-1] = 0.0
    force = acceleration - config.alpha * (config.beta * left - velocity) - _fade(config, s, span)
    if config.scaling == "ijspeert":
        if np.any(np.abs(span) < 1e-6):
            raise HoneError(
                f"number {int(np.abs(span).argmin())} of the demonstration ends where it starts, so it has no scale; "
                "use scaling='pastor'."
            )
        force = force / span
    basis = config.basis(s)
    return np.linalg.solve(basis.T @ basis + config.ridge * np.eye(config.num_basis), basis.T @ force).T


def _force(config: DmpConfig, s: np.ndarray, weights: np.ndarray, span: np.ndarray) -> Float64[np.ndarray, "T D"]:
    """What acts beside the spring."""
    stretch = span if config.scaling == "ijspeert" else 1.0
    return config.basis(s) @ weights.T * stretch + _fade(config, s, span)


def _fade(config: DmpConfig, s: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Pastor's term: holds the spring back at first, as if the goal moved from the start to its place."""
    held = config.scaling == "pastor"
    return -held * config.alpha * config.beta * config.phase(s)[:, None] * span


def _steps(duration: float, dt: float) -> int:
    if dt <= 0 or duration <= 0:
        raise HoneError(f"a roll-out needs a positive step and duration, not {dt} s and {duration} s.")
    return max(1, round(duration / dt))


def _sideways(direction: np.ndarray) -> np.ndarray:
    """A vector at right angles to `direction`: the part of the last axis (up) that is, or else of the first."""
    for axis in np.eye(len(direction))[[-1, 0]]:
        aside = axis - direction * float(axis @ direction) / max(float(direction @ direction), 1e-12)
        if np.linalg.norm(aside) > 0.1:
            return aside
    raise HoneError("a movement of one number cannot go around an obstacle.")
