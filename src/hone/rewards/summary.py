"""What a round of episodes looked like to the reward, for a judge: in numbers, and in words.

Nothing in it comes from the simulator's success check; a judge that knew the truth could not be trusted with a rewrite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hone.envs.libero.facts import Facts
from hone.language.scene_words import changes, describe
from hone.rewards.program import RewardProgram, line
from hone.rewards.scoring import Scored, Weights

SHOWN = 3
"""Failures described in words."""


@dataclass(frozen=True)
class Failure:
    """An episode that was not claimed: where it stopped, and its first and last facts."""

    stopped_at: int
    before: Facts
    after: Facts


@dataclass(frozen=True)
class Summary:
    """One task's episodes of a round. `rates[k]`: share that reached milestone k; `progress[k]`: mean Delta_k.

    `stops[k]`: how many stopped before milestone k. `known_good`: facts of demonstrations at every look. `earlier`:
    attempts of rounds before, in words, newest first.
    """

    program: RewardProgram
    episodes: int
    claimed: int
    rates: tuple[float, ...]
    progress: tuple[float, ...]
    stops: tuple[int, ...]
    weights: tuple[float, ...]
    start: Facts
    failures: tuple[Failure, ...]
    known_good: tuple[tuple[Facts, ...], ...]
    earlier: tuple[str, ...] = ()

    def words(self) -> str:
        lines = [
            f"Instruction: {self.program.instruction}",
            f"{self.episodes} episodes, of which the program (version {self.program.version}) takes {self.claimed} for "
            "successes. Milestones, with the share of episodes that reached each, their mean progress, how many "
            "stopped before it, and its weight in this round:",
        ]
        for k, milestone in enumerate(self.program.milestones):
            lines.append(
                f"{line(k + 1, milestone)} | reached {100 * self.rates[k]:.0f} %, progress {self.progress[k]:.2f}, "
                f"{self.stops[k]} stopped here, weight now {self.weights[k]:.2f}"
            )
        lines += ["", "The scene at the start of one episode:", describe(self.start)]
        for failure in self.failures:
            name = self.program.milestones[failure.stopped_at].name
            lines += ["", f"An episode that stopped before '{name}'. What had changed by its end:"]
            lines += changes(failure.before, failure.after)
        if self.earlier:
            lines += ["", "Attempts of earlier rounds, newest first:", *(f"- {attempt}" for attempt in self.earlier)]
        return "\n".join(lines)


def summarise(
    program: RewardProgram,
    facts: Sequence[tuple[Facts, ...]],
    scored: Sequence[Scored],
    weights: Weights,
    known_good: Sequence[tuple[Facts, ...]] = (),
    earlier: Sequence[str] = (),
) -> Summary:
    """`facts[i]` are those of episode i at every look, `scored[i]` its score."""
    stops = Counter(one.stopped_at for one in scored if one.stopped_at is not None)
    failures: list[Failure] = []
    for stop, _ in stops.most_common(SHOWN):
        row = next(row for row, one in enumerate(scored) if one.stopped_at == stop)
        failures.append(Failure(stop, facts[row][0], facts[row][-1]))
    return Summary(
        program=program,
        episodes=len(scored),
        claimed=sum(one.succeeded for one in scored),
        rates=tuple(np.mean([[look is not None for look in one.reached] for one in scored], axis=0).tolist()),
        progress=tuple(np.mean([one.progress for one in scored], axis=0).tolist()),
        stops=tuple(stops.get(k, 0) for k in range(len(program))),
        weights=tuple(weights.tolist()),
        start=facts[0][0],
        failures=tuple(failures),
        known_good=tuple(known_good),
        earlier=tuple(earlier),
    )
