"""Evaluate a policy by the rules of evidence: official initial states, intervals, held success, protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.data.episodes import EpisodeWriter, read_headers
from hone.envs.base import EnvironmentConfig
from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.evaluation.recording import recorded
from hone.evaluation.runner import Setup, evaluate, protocol_card
from hone.policies import load_policy
from hone.policies.base import Policy
from hone.policies.scripted import SCRIPTED, Planning, ScriptedPolicy
from hone.primitives.safety import SafetyLimits
from hone.specs import check_compatible
from hone.training.workers import RolloutPool
from hone.types import Placement


@dataclass(frozen=True)
class Config:
    """Options of `hone eval`."""

    policy: str
    """Folder of the policy (config.json and model.safetensors), or a planner with scripted movements, which reads
    object poses and needs no demonstrations: `skills`, or `lmp` (language movement primitives)."""
    suite: str = "libero_object"
    """Benchmark suite."""
    tasks: tuple[int, ...] = ()
    """Task numbers within the suite; all of them if none is given."""
    placements: int = 50
    """Placements per task, counted from 0."""
    placement_kind: Literal["official", "sampled"] = "official"
    """`official`: the benchmark's stored initial states. `sampled`: fresh ones, for debugging and tuning."""
    decoding: Literal["greedy", "sampled"] = "greedy"
    """The policy's mode, or its samples at the exploration scale it was saved with."""
    instruction: Literal["own", "blank", "other_task"] = "own"
    """Language probe: what the policy is told."""
    seed: int = 0
    """Seed of a sampled decoding."""
    planning: Planning = field(default_factory=Planning)
    """Of a scripted policy."""
    safety: SafetyLimits = field(default_factory=SafetyLimits)
    """What a scripted policy's motions are kept to."""
    workers: int = 2
    """Rollout processes; 0 runs everything in this one."""
    slots: int = 16
    """Environment slots per process."""
    env: EnvironmentConfig = field(default_factory=LiberoConfig)
    """The environment, an episode's step cap included. Images or object poses are given as the policy needs them."""
    output: Path | None = None
    """Write the full result, episode by episode, to this JSON file."""
    record: Path | None = None
    """Also act once more, greedily, from the first placements of each task, and keep these episodes in this folder:
    `hone view` makes films and rerun recordings of them."""
    record_placements: int = 3
    """From so many placements of each task."""
    json: bool = False
    """Print the result as one JSON object on standard output."""


def within(environment: EnvironmentConfig) -> Config:
    return Config("", suite=environment.suite, env=environment)


def run(config: Config) -> int:
    if not config.policy:
        raise HoneError("say which policy to evaluate: --policy FOLDER.")
    if config.placements < 1:
        raise HoneError(f"placements is {config.placements}; evaluate from at least one per task.")
    chosen = config.env.tasks(config.suite, config.tasks)
    scripted = config.policy in SCRIPTED
    policy = ScriptedPolicy(config.policy, config.planning, config.safety) if scripted else load_policy(config.policy)
    env = config.env.seen_by(policy.spec)
    check_compatible(policy.spec, env.spec)
    if scripted and config.planning.asks_a_model and config.workers:
        raise HoneError("a language model may think longer than a worker may be silent; add `--workers 0`.")
    setup = Setup(
        chosen,
        config.placement_kind,
        tuple(range(config.placements)),
        config.decoding,
        config.instruction,
        config.seed,
    )
    progress = TerminalProgress()
    with progress.stage("preparing scenes (once)", len(chosen)) as step:
        for task in chosen:
            env.prepare([task], [r.placement for r in setup.requests() if r.task == task])
            step(1)
    with (
        progress.stage("evaluating", len(setup.requests())) as step,
        RolloutPool(env, policy, config.workers, config.slots) as pool,
    ):
        result = evaluate(
            pool,
            policy,
            setup,
            lambda s: protocol_card(s, env, policy),
            policy_name=config.policy,
            on_episode=lambda trajectory: step(1),
        )
    if config.output is not None:
        result.save(config.output)
    if config.record is not None:
        _record(config, env, policy, setup, config.record, progress)
    summary = result.summary()
    if config.json:
        emit_json(summary)
        return 0
    console = people()
    for name, tally in summary["per_task"].items():
        console.print(f"  {tally['successes']:>3}/{tally['episodes']:<3} {name}")
    if summary["episodes"]:
        held = "" if summary["held_rate"] is None else f"held {100 * summary['held_rate']:.1f} %, "
        console.print(
            f"[bold]{100 * summary['success_rate']:.1f} %[/bold] "
            f"[{100 * summary['low']:.1f}, {100 * summary['high']:.1f}] of {summary['episodes']} episodes, "
            f"{held}faults {summary['faults']}"
        )
    if "refinements" in summary:
        console.print(f"sub-goals tried again: {summary['refinements']}; plans refused: {len(summary['refusals'])}")
        for message, count in summary["refusals"].items():
            console.print(f"  [red]{count} x {message}[/red]", highlight=False)
    if "adjusted" in summary:
        who = ", ".join(summary["weights"])
        console.print(f"weights by {who}; asked for again after a failure: {summary['adjusted']}")
        for message, count in summary["fallbacks"].items():
            console.print(f"  [red]{count} x the rule stood in: {message}[/red]", highlight=False)
    if "safety" in summary:
        console.print(_safety_line(summary["safety"]))
    for name, value in result.protocol.describe():
        console.print(f"  [dim]{name:<22}{value}[/dim]", highlight=False)
    return 0


def _record(
    config: Config, env: EnvironmentConfig, policy: Policy, setup: Setup, folder: Path, progress: TerminalProgress
) -> None:
    """Whole episodes, in one slot; those that are in the folder already are kept."""
    made_by = {"policy": config.policy, "decoding": "greedy", **protocol_card(setup, env, policy).to_json()}
    writer = EpisodeWriter(folder, env.pictured_spec, made_by)
    have = {(header.task, header.placement) for header in read_headers(folder)}
    first = setup.placements[: config.record_placements]
    wanted = [(task, Placement(setup.placement_kind, index)) for task in setup.tasks for index in first]
    built = env.build(1)
    try:
        with progress.stage("recording", len(wanted), len(have)) as step:
            for task, placement in wanted:
                if (task, placement) not in have:
                    writer.write(recorded(built, policy, task, placement))
                    step(1)
    finally:
        built.close()


def _safety_line(safety: dict[str, Any]) -> str:
    limited = ", ".join(f"{limit} {steps}" for limit, steps in safety["limited_steps"].items())
    largest, stops = safety["largest"], sum(safety["stops"].values())
    return (
        f"control steps limited: {limited}; stopped: {stops}; at most {largest['speed_m_s']:.2f} m/s, "
        f"{largest['turn_rad_s']:.1f} rad/s, {largest['force_n']:.0f} N at the hand"
    )
