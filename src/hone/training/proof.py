"""What is measured around the training, so that a gain can be proved: evaluations, language probes, videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hone.envs.base import EnvironmentConfig
from hone.evaluation.progress import Progress
from hone.evaluation.results import EvaluationResult
from hone.evaluation.run_folder import RunFolder, read_json, write_json
from hone.evaluation.runner import Setup, evaluate, protocol_card
from hone.evaluation.videos import record_videos
from hone.policies.learned import LearnedPolicy
from hone.training.pools import open_pool
from hone.types import Placement, Task

TALLY = ("success_rate", "successes", "episodes", "low", "high", "held_rate", "faults")
When = Literal["before", "after"]


@dataclass(frozen=True)
class Proof:
    """Measures a policy in `env` and keeps each result in the run's folder, where a run that goes on finds it."""

    run: RunFolder
    env: EnvironmentConfig
    workers: int
    slots: int
    progress: Progress
    ray: str | None = None

    def evaluate(self, path: Path, policy: LearnedPolicy, setup: Setup, when: When) -> EvaluationResult:
        """Success on `setup`, from `path` if it was measured before."""
        if path.exists():
            return EvaluationResult.load(path)
        env = self.env.seen_by(policy.spec)
        with (
            self.progress.stage(f"evaluating {when}", len(setup.requests())) as step,
            open_pool(env, policy, self.workers, self.slots, self.ray) as pool,
        ):
            result = evaluate(
                pool,
                policy,
                setup,
                lambda s: protocol_card(s, env, policy),
                policy_name=f"{policy.name}, {when} training",
                on_episode=lambda trajectory: step(1),
            )
        result.save(path)
        return result

    def probe(self, policy: LearnedPolicy, setup: Setup) -> dict[str, Any]:
        """Success with a blank and with another task's instruction. Who ignores the instruction is not a VLA."""
        if self.run.probes.exists():
            return read_json(self.run.probes)
        probes: dict[str, Any] = {}
        env = self.env.seen_by(policy.spec)
        with (
            self.progress.stage("language probes", 3 * len(setup.requests())) as step,
            open_pool(env, policy, self.workers, self.slots, self.ray) as pool,
        ):
            for name, instruction in (("normal", "own"), ("blank", "blank"), ("other_task", "other_task")):
                asked = replace(setup, instruction=instruction)
                result = evaluate(
                    pool, policy, asked, lambda s: protocol_card(s, env, policy), on_episode=lambda trajectory: step(1)
                ).summary()
                probes[name] = {key: result[key] for key in TALLY}
        write_json(self.run.probes, probes)
        return probes

    def film(self, policy: LearnedPolicy, tasks: Sequence[Task], when: When) -> None:
        """One video per task (at most three), always from official initial state 0: not chosen by how it went."""
        shown = tasks[:3] if self.env.has_pictures else ()
        with self.progress.stage(f"filming {when}", len(shown)) as step:
            record_videos(
                self.run,
                self.env.seen_by(policy.spec),
                policy,
                shown,
                Placement("official", 0),
                when,
                lambda: step(1),
            )
