"""Teach a search what is worth trying: roll a policy out, train a value head on its episodes, keep macro-actions.

Writes what `hone eval --planner vvlaps --value FOLDER` reads: a value of states, a value of chunks (in `chunk/`), and a
library of chunks that succeeded. Episodes start from sampled placements, never from official initial states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task as find_task
from hone.envs.libero.suites import tasks as suite_tasks
from hone.errors import HoneError
from hone.evaluation.run_folder import write_json
from hone.planning.preparation import PreparationConfig, fit, practice_requests
from hone.planning.value import ValueConfig
from hone.policies import load_policy
from hone.policies.learned import LearnedPolicy
from hone.training.workers import RolloutPool


@dataclass(frozen=True)
class Config:
    """Options of `hone value`."""

    policy: str
    """Folder of the policy."""
    output: Path
    """Folder to write to."""
    suite: str = "libero_object"
    """Benchmark suite."""
    tasks: tuple[int, ...] = ()
    """Task numbers within the suite; all of them if none is given."""
    preparation: PreparationConfig = field(default_factory=PreparationConfig)
    """Which episodes, and how large the library is."""
    training: ValueConfig = field(default_factory=ValueConfig)
    """The value heads. Their inputs are the policy's features, and these with a chunk."""
    workers: int = 2
    """Rollout processes; 0 runs everything in this one."""
    slots: int = 16
    """Environment slots per process."""
    env: LiberoConfig = field(default_factory=lambda: LiberoConfig(physics="fast"))
    """The environment."""
    json: bool = False
    """Print the metrics as one JSON object on standard output."""


def run(config: Config) -> int:
    if config.output.exists():
        raise HoneError(f"'{config.output}' exists already. Give another --output.")
    chosen = tuple(find_task(config.suite, i) for i in config.tasks) or suite_tasks(config.suite)
    policy = load_policy(config.policy)
    if not isinstance(policy, LearnedPolicy):
        raise HoneError("a value is trained on a policy's features; this one has none that could be read.")
    policy.exploration = config.preparation.noise
    env = config.env.seen_by(policy.spec)
    asked = practice_requests(chosen, config.preparation)
    env.prepare(chosen, [request.placement for request in asked])
    with (
        TerminalProgress().stage("rolling out", len(asked)) as step,
        RolloutPool(env, policy, config.workers, config.slots) as pool,
    ):
        episodes = pool.collect(asked, keep="features", on_episode=lambda trajectory: step(1))
    metrics = fit(episodes, config.training, config.preparation, config.output)
    write_json(config.output / "metrics.json", metrics)
    states = metrics["states"]
    people().print(
        f"written to {config.output}: AUC {states['auc']:.3f} on {states['test_states']:.0f} initial states it never "
        f"saw ({states['success_rate']:.0%} of the episodes succeeded), {metrics['library']} chunks to try"
    )
    if config.json:
        emit_json(metrics)
    return 0
