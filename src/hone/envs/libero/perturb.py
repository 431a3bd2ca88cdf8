"""Declared changes of a scene for testing robustness: `camera:2` is the kind `camera` at level 2.

After LIBERO-Plus (Fei et al. 2025, arXiv:2510.13626), which perturbs cameras, robot states, objects, light, textures
and language, and LIBERO-Para (paraphrases). The kinds and sizes here are Hone's own; scores under them cannot be
compared with either benchmark.

Each is fully determined by (kind, level, seed, task, placement): the same five give the same change in every process.
`arm` and `objects` change the state an episode starts from (perturb_state.py), `instruction` what the policy is told
(hone/language/paraphrase.py), the others what pictures show and nothing else (perturb_looks.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.perturb_looks import LOOKS, PLAIN, Look, distractors
from hone.envs.libero.perturb_state import moved_objects, turned_arm
from hone.envs.libero.scene import Scene
from hone.errors import HoneError, unknown_name
from hone.language.paraphrase import paraphrase
from hone.seeding import numpy_generator
from hone.types import Placement, Task

LEVELS = (1, 2, 3)
"""Mild, medium, strong. Level 0 is off and leaves everything as it is, to the bit."""

KINDS: dict[str, str] = {
    "objects": "things stand elsewhere: 1-2, 2-4, 4-8 cm away",
    "arm": "the arm starts turned by 0.025-0.05, 0.05-0.1, 0.1-0.2 rad a joint (root mean square)",
    "camera": "the main camera orbits its scene by up to 5, 12, 25 degrees and comes nearer or farther",
    "light": "brighter or darker by up to a factor of 1.3, 1.7, 2.3, tinted, from elsewhere",
    "background": "floor, walls and table in other tones; from level 2 with each other's texture, at 3 plain",
    "colours": "things in other shades, then other hues; what is named by its colour keeps it",
    "distractors": "2, 4, 6 coloured shapes that nobody named lie about (in the pictures only)",
    "instruction": "paraphrased: other verbs, then another sentence, then other words for the things",
}


@dataclass(frozen=True)
class Perturbation:
    kind: str
    level: int

    @classmethod
    def parse(cls, text: str) -> Perturbation:
        """`kind:level`; raises `HoneError` for what is not one."""
        kind, _, level = text.partition(":")
        if kind not in KINDS:
            raise unknown_name("perturbation", kind, KINDS)
        if level not in ("0", *map(str, LEVELS)):
            raise HoneError(
                f"perturbation '{text}' has no level; write '{kind}:1' to '{kind}:{LEVELS[-1]}' (0 is off)."
            )
        return cls(kind, int(level))

    def __str__(self) -> str:
        return f"{self.kind}:{self.level}"


class Perturber:
    """What `perturbations` make of a task's placements."""

    def __init__(self, perturbations: Sequence[str], seed: int) -> None:
        parsed = [Perturbation.parse(text) for text in perturbations]
        kinds = [perturbation.kind for perturbation in parsed]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise HoneError(f"perturbation '{kind}' is given {kinds.count(kind)} times; give each kind once.")
        self._seed = seed
        # In the order of KINDS, so that the order in which they were given does not matter.
        self.active = tuple(p for kind in KINDS for p in parsed if p.kind == kind and p.level > 0)
        self.labels = tuple(f"{perturbation} seed {seed}" for perturbation in self.active)

    def initial_state(self, scene: Scene, placement: Placement) -> Float64[np.ndarray, " S"]:
        """The state an episode starts from (time, qpos, qvel), before the waiting steps."""
        state = scene.initial_state(placement)
        for perturbation in self.active:
            generator = self._generator(perturbation, scene.task, placement)
            if perturbation.kind == "objects":
                state = moved_objects(scene, state, perturbation.level, generator)
            elif perturbation.kind == "arm":
                state = turned_arm(scene, state, perturbation.level, generator)
        return state

    def instruction(self, task: Task, placement: Placement) -> str:
        for perturbation in self.active:
            if perturbation.kind == "instruction":
                return paraphrase(task.instruction, perturbation.level, self._generator(perturbation, task, placement))
        return task.instruction

    def look(self, scene: Scene, placement: Placement) -> Look:
        """How the scene is drawn."""
        visual = [perturbation for perturbation in self.active if perturbation.kind in (*LOOKS, "distractors")]
        if not visual:
            return PLAIN
        edits, shapes = [], ()
        for perturbation in visual:
            generator = self._generator(perturbation, scene.task, placement)
            if perturbation.kind == "distractors":
                shapes = distractors(scene, self.initial_state(scene, placement), perturbation.level, generator)
            else:
                edits.append(LOOKS[perturbation.kind](scene, perturbation.level, generator))
        return Look(tuple(edits), shapes)

    def _generator(self, perturbation: Perturbation, task: Task, placement: Placement) -> np.random.Generator:
        where = (task.suite, task.index, placement.kind, placement.index)
        return numpy_generator(self._seed, "perturb", perturbation.kind, perturbation.level, *where)
