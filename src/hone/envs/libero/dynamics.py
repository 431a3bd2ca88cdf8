"""Things that weigh or slip more or less than LIBERO's: what a wrong model of the world is like."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from hone.errors import HoneError


@dataclass(frozen=True)
class Dynamics:
    """Factors on LIBERO's own physics; 1 leaves it as it is, to the bit."""

    friction: float = 1.0
    """On the sliding friction of everything that touches."""
    mass: float = 1.0
    """On the masses and inertias of loose things."""

    def __post_init__(self) -> None:
        for name in ("friction", "mass"):
            if not 0.1 <= getattr(self, name) <= 10:
                raise HoneError(f"dynamics {name} is {getattr(self, name)}; a factor between 0.1 and 10 is expected.")

    @property
    def labels(self) -> tuple[str, ...]:
        """What differs, for the protocol card."""
        factors = {"friction": self.friction, "mass": self.mass}
        return tuple(f"{name} x{factor:g}" for name, factor in factors.items() if factor != 1.0)

    def __call__(self, model: mujoco.MjModel) -> mujoco.MjModel:
        """Change `model`, which must be the caller's own copy, and return it."""
        if not self.labels:
            return model
        model.geom_friction[:, 0] *= self.friction
        loose = np.zeros(model.nbody, bool)
        free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
        loose[np.isin(model.body_rootid, model.jnt_bodyid[free])] = True
        model.body_mass[loose] *= self.mass
        model.body_inertia[loose] *= self.mass
        mujoco.mj_setConst(model, mujoco.MjData(model))
        return model
