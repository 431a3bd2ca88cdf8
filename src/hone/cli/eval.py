"""Evaluate a policy by the rules of evidence: official initial states, intervals, held success, protocol."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
from hone.planning.planners import ModelError, Planner, build_planning, label
from hone.planning.tree_search import SearchConfig
from hone.policies import LeRobotConfig, Policy, VLMConfig, load_policy
from hone.policies.base import REMOTE
from hone.policies.remote import RemoteConfig, RemotePolicy
from hone.policies.sampling import AS_SAVED, Sampling
from hone.policies.scripted import SCRIPTED, Planning, ScriptedPolicy
from hone.primitives.safety import SafetyLimits
from hone.specs import check_compatible
from hone.training.pools import open_pool
from hone.training.workers import SILENCE_S
from hone.types import Placement


@dataclass(frozen=True)
class Config:
    """Options of `hone eval`."""

    policy: str
    """Folder of the policy (config.json and model.safetensors), or a planner with scripted movements, which reads
    object poses and needs no demonstrations: `skills`, or `lmp` (language movement primitives), or a policy server:
    `remote:ws://host:8000`. `lerobot:PATH` is a LeRobot checkpoint and `vlm:PATH` an image-text model read as a policy,
    PATH a folder or hub id."""
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
    sampling: Sampling = field(default_factory=Sampling)
    """How a learned policy's chunks are drawn and executed."""
    planning: Planning = field(default_factory=Planning)
    """Of a scripted policy."""
    safety: SafetyLimits = field(default_factory=SafetyLimits)
    """What a scripted policy's motions are kept to."""
    planner: Planner = "none"
    """Look ahead before every decision: tree search with rollouts (`vlaps`) or a value (`vvlaps`), whole rollouts
    (`best-of-n`), or the best of the policy's samples by `value`, by simulated `outcome`, or by `consistency`. All but
    `value` and `consistency` try things in a perfect copy of the simulator and see success there."""
    simulations: int | None = None
    """Of a tree search, per decision; `search.mcts.simulations` by default."""
    value: Path | None = None
    """Folder that `hone value` wrote, for the planners that need a value; its library of chunks is used by all."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Of a planner."""
    model_error: ModelError = field(default_factory=ModelError)
    """How wrong the copies are that a planner tries things in."""
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    """Of a policy server."""
    lerobot: LeRobotConfig = field(default_factory=LeRobotConfig)
    """How a `lerobot:` policy is run."""
    vlm: VLMConfig = field(default_factory=VLMConfig)
    """How a `vlm:` policy is run."""
    workers: int = 2
    """Rollout processes; 0 runs everything in this one."""
    ray: str | None = None
    """Run on a Ray cluster, in `workers` actors: `auto`, `local` or HOST:PORT of its head. See docs/clusters.md."""
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
    policy = _policy(config)
    env = config.env.seen_by(policy.spec)
    check_compatible(policy.spec, env.spec)
    if config.workers and _may_be_silent(config):
        raise HoneError("the policy may think longer than a worker may be silent; add `--workers 0`.")
    search = config.search
    if config.simulations is not None:
        search = replace(search, mcts=replace(search.mcts, simulations=config.simulations))
    planning = build_planning(config.planner, search, env, config.value, config.model_error)
    planner = label(config.planner, search, config.model_error)
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
        open_pool(env, policy, config.workers, config.slots, config.ray) as pool,
    ):
        result = evaluate(
            pool,
            policy,
            setup,
            lambda s: replace(protocol_card(s, env, policy, config.sampling.label), planner=planner),
            policy_name=config.policy,
            planning=planning,
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
    if "search" in summary:
        console.print(
            f"looked ahead over {summary['cost']['simulator_steps']:,} simulated control steps, "
            f"{summary['search']['simulator_steps_per_episode']:,.0f} an episode; {planner}",
            highlight=False,
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


def _policy(config: Config) -> Policy:
    own = config.policy not in SCRIPTED and not config.policy.startswith(REMOTE)
    if not own and config.sampling != AS_SAVED:
        raise HoneError(f"'{config.policy}' draws its chunks itself; leave out --sampling ({config.sampling.label}).")
    if not own and config.planner != "none":
        raise HoneError(f"'{config.policy}' has no features to search with; leave out --planner.")
    if config.sampling.best_of > 1 and config.decoding == "greedy":
        raise HoneError("greedy candidates are all the same; to take the best of several, add `--decoding sampled`.")
    if config.policy in SCRIPTED:
        return ScriptedPolicy(config.policy, config.planning, config.safety)
    if config.policy.startswith(REMOTE):
        return RemotePolicy(config.policy, config.remote)
    return config.sampling.apply(load_policy(config.policy, config.lerobot, config.vlm))


def _may_be_silent(config: Config) -> bool:
    """Whether a single decision may take longer than a worker may say nothing."""
    if config.policy.startswith(REMOTE):
        return config.remote.connect_s + config.remote.timeout_s >= SILENCE_S
    return config.policy in SCRIPTED and config.planning.asks_a_model


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
