"""Does the grammar read other people's words for LIBERO's tasks, and does it ever read them wrongly?

    python benchmarks/paraphrases.py --sentences FILE --group NAME

FILE is not in the repository: JSON lines with `suite`, `task` (its number) and `sentence`, taken from a collection such
as LIBERO-Para. A sentence is `same` if it gives the plan of the task's own instruction at a sampled placement,
`refused`, or `wrong`. One row per group and version of the grammar in results/paraphrases.jsonl, with the reasons of
the refusals; sentences are not stored.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tyro

from grammar import means, version
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.engine import Slot
from hone.envs.libero.facts import FactReader, Facts
from hone.envs.libero.scene import ensure_placements, load_scene
from hone.envs.libero.suites import task as find_task
from hone.types import Placement
from rows import append_row, finished

NAME = "paraphrases"


@dataclass(frozen=True)
class Config:
    sentences: Path
    group: str
    """What the sentences are called in the rows: where they come from, and whether anybody had seen them."""


@cache
def facts_of(suite: str, index: int) -> Facts:
    scene = load_scene(find_task(suite, index), asset_pack("standin"))
    ensure_placements(scene, asset_pack("standin"), [0])
    slot = Slot(scene.model, scene.robot, scene.goal)
    slot.reset(scene.initial_state(Placement("sampled", 0)))
    return FactReader(scene).read(slot)


def outcome(suite: str, index: int, sentence: str) -> str:
    facts = facts_of(suite, index)
    found = means(sentence, facts)
    if isinstance(found, str):
        return f"refused: {found}"
    return "same" if found == means(find_task(suite, index).instruction, facts) else "wrong"


def main(config: Config) -> None:
    keys = {"group": config.group, "version": version()}
    if finished(NAME, **keys):
        return
    asked = [json.loads(line) for line in config.sentences.read_text().splitlines()]
    outcomes = Counter(outcome(row["suite"], row["task"], row["sentence"]) for row in asked)
    append_row(NAME, {**keys, "sentences": len(asked), "outcomes": dict(outcomes)})
    print(json.dumps({**keys, **outcomes}))


if __name__ == "__main__":
    main(tyro.cli(Config))
