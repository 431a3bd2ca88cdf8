"""The main job: take a policy that half works and make it better by itself, then prove the gain.

Read top to bottom, this is the whole system: demonstrations and cloning where there is no policy yet, evaluation
before, practice, evaluation after, language probes, videos, summary. Practice is GRPO (collect, reward, advantage,
update), and around it the parts of the agentic loop (Agentic-VLA, arXiv:2605.22896), each of which can be switched off:
a reward written from the instruction, exploration guided by hints, a curriculum, and a memory of earlier runs. Every
stage leaves a file in the run folder, so a run that is stopped at any moment goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hone.data.demonstrations import PLACEMENTS as TRAINING_SEEDS
from hone.envs.base import EnvironmentConfig
from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.evaluation.progress import SILENT, Progress
from hone.evaluation.protocol import source_commit
from hone.evaluation.results import Cost, paired_difference
from hone.evaluation.run_folder import RunClock, RunFolder, RunLog, open_run, read_json, read_rows, write_json
from hone.evaluation.runner import Setup, evaluate, protocol_card
from hone.exploration.benefit import Benefit
from hone.exploration.distillation import LESSONS, DistillationConfig, LessonBook, distill, lessons
from hone.exploration.guidance import GuidanceConfig, build_guidance, mark_hinted, spread
from hone.memory import EpisodeMemory
from hone.memory.deltas import weights_of
from hone.memory.experience import Memory
from hone.memory.retrieval import Retrieval
from hone.planning.teaching import TeacherConfig, taught, teach
from hone.policies import LeRobotConfig, VLMConfig, load_policy
from hone.policies.learned import LearnedPolicy
from hone.policies.small import SmallPolicyConfig, steered
from hone.primitives.expert import Manner
from hone.rewards import (
    AdaptiveReward,
    CriticRewardConfig,
    ProgressReward,
    RewardFn,
    SynthesisConfig,
    build_reward,
)
from hone.rewards.audit import Audit, AuditRow
from hone.rewards.claims import Claims
from hone.seeding import derive_seed, torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig
from hone.training.checkpoint import load_latest, save_checkpoint
from hone.training.credit import CreditKind, decision_batch, encoded, judged
from hone.training.curriculum import Curriculum, CurriculumKind
from hone.training.grpo import GRPO, GRPOConfig
from hone.training.pools import Pool, open_pool
from hone.training.proof import TALLY, Proof
from hone.training.records import attempts, audit_rows, calls_of
from hone.training.rollout import EpisodeRequest
from hone.training.starting_policy import cloned_policy
from hone.training.warm_start import remember, warm_start
from hone.types import Placement, Task

VALIDATION_SEEDS = range(0, TRAINING_SEEDS.start)
"""Sampled placements the curve during training is measured on; never trained on."""


@dataclass(frozen=True)
class ImproveConfig:
    """One run of `hone improve`. The defaults suit two CPU cores."""

    output: Path = Path("runs/improve")
    """Folder of the run. A run that was stopped goes on when the same command is given again."""
    suite: str = "libero_object"
    """Benchmark suite."""
    tasks: tuple[int, ...] = ()
    """Task numbers within the suite; all of them if none is given."""
    policy: Path | None = None
    """Folder of a policy to start from, or `lerobot:PATH` or `vlm:PATH` (see `hone eval`). Without one, a small policy
    is cloned from demonstrations first."""
    lerobot: LeRobotConfig = field(default_factory=LeRobotConfig)
    """How a `lerobot:` policy is run."""
    vlm: VLMConfig = field(default_factory=VLMConfig)
    """How a `vlm:` policy is run."""
    demos: int = 3
    """Scripted demonstrations per task to clone from."""
    manner: Manner = field(default_factory=Manner)
    """How the demonstrations are given."""
    seed: int = 0
    """Seeds everything: weights, demonstrations, placements, exploration."""
    iterations: int = 30
    """GRPO updates."""
    groups: int = 9
    """Groups per update. A group is one task at one placement."""
    group_size: int = 8
    """Episodes per group."""
    exploration: float | None = None
    """Noise scale of the first update's episodes; wider, up to 2.5 times, while none of them succeeds. By default what
    suits the policy's head (`Head.practice`)."""
    final_exploration: float | None = None
    """Noise scale of the last update's episodes; in between it falls linearly. By default the head's, or `exploration`
    if that is less."""
    curriculum: CurriculumKind = "failures"
    """Which tasks get more groups: those that fail, those that succeed half the time, or none."""
    reward: str = "success"
    """What an episode is worth: `success`, `synthesized` from the instruction, or what a `critic` sees in pictures; see
    `hone.rewards`."""
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    """Of the synthesized reward."""
    critic: CriticRewardConfig = field(default_factory=CriticRewardConfig)
    """Of the critic's reward."""
    credit: CreditKind = "milestones"
    """Which decisions answer for a synthesized reward: those before a milestone for that milestone, or all for all."""
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    """Language-guided exploration."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """How what succeeded with hints is taught to the policy without hints."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """A search in copies of the simulator that acts in some of the practice episodes."""
    memory: Path | None = None
    """Folder of the memory of earlier runs from the same starting policy: read before practice, added to after it."""
    retrieval: Retrieval = "similar"
    """Which memories the practice starts from: those of similar instructions, any (a control), or none."""
    steer_noise: bool = False
    """Leave the decoder as it is and practise where it starts from (DSRL, for the heads flow, eqm and score). Its
    exploration is the standard deviation of standard-normal noise: about 0.5, not the default here."""
    train_encoder: bool = False
    """Train the image encoder in RL too. Frozen, features are stored once and updates cost almost nothing."""
    train_step_cap: int = 180
    """Control steps of a training episode. Evaluation keeps the suite's own cap."""
    workers: int = 2
    """Rollout processes; 0 runs everything in this one."""
    slots: int = 36
    """Environment slots per process."""
    evaluate_every: int = 5
    """Updates between two measurements of the curve."""
    curve_placements: int = 20
    """Validation placements per task for each point of the curve."""
    final_placements: int = 50
    """Official initial states per task for the evaluation before and after."""
    probe_placements: int = 20
    """Official initial states per task for each language probe."""
    network: SmallPolicyConfig = field(default_factory=SmallPolicyConfig)
    """The policy that is cloned where none is given."""
    clone: BehaviorCloningConfig = field(default_factory=BehaviorCloningConfig)
    """Behaviour cloning."""
    grpo: GRPOConfig = field(default_factory=GRPOConfig)
    """The policy update."""
    env: EnvironmentConfig = field(default_factory=LiberoConfig)
    """The environment the policy is evaluated in; training runs it as fast as it goes (LIBERO: `physics="fast"`)."""

    def __post_init__(self) -> None:
        for name in ("demos", "iterations", "groups", "group_size", "slots", "evaluate_every", "train_step_cap"):
            if getattr(self, name) < 1:
                raise HoneError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.group_size < 2:
            raise HoneError("group_size is 1, but a group-relative advantage needs at least 2 episodes per group.")
        if self.teacher.members >= self.group_size:
            raise HoneError(f"teacher.members is {self.teacher.members} of a group of {self.group_size}; leave some.")
        if self.teacher.members and (self.reward != "success" or self.guidance.hinter != "none"):
            raise HoneError("a search sees the simulator's success, and no hints; use reward success and no hinter.")
        if self.guidance.hinter == "llm" and self.workers:
            raise HoneError("a language model may think longer than a worker may be silent; add `--workers 0`.")
        given = [value for value in (self.exploration, self.final_exploration) if value is not None]
        if any(value <= 0 for value in given) or given != sorted(given, reverse=True):
            raise HoneError(
                f"exploration {self.exploration} must not be below final_exploration {self.final_exploration} > 0."
            )

    @property
    def chosen_tasks(self) -> tuple[Task, ...]:
        return self.env.tasks(self.suite, self.tasks)

    @property
    def need_facts(self) -> list[str]:
        """Options of this run that read the truth about a scene."""
        asked = {
            "--reward synthesized": self.reward == "synthesized",
            f"--guidance.hinter {self.guidance.hinter}": self.guidance.hinter != "none",
        }
        return [what for what, wanted in asked.items() if wanted]

    def exploration_at(self, iteration: int, practice: tuple[float, float]) -> float:
        """The noise scale of an update, where `practice` is what suits the head at first and at last."""
        first = practice[0] if self.exploration is None else self.exploration
        last = min(practice[1], first) if self.final_exploration is None else self.final_exploration
        return first + iteration / max(self.iterations - 1, 1) * (last - first)


def improve(
    config: ImproveConfig, progress: Progress = SILENT, track: Sequence[str] = (), ray: str | None = None
) -> dict[str, Any]:
    """Run the whole job in `config.output`, or what is left of it, and return the content of `summary.json`.

    `track` names trackers beside TensorBoard (`hone.tracking`), `ray` the cluster that rollouts run on
    (`hone.training.pools`); neither is part of the run's settings, since neither changes its outcome.
    """
    tasks = config.chosen_tasks  # bad names are refused here, before anything is written
    config.env.check()
    for what in config.need_facts:
        config.env.require_facts(what)
    reward = build_reward(config.reward, config.synthesis, config.critic)
    run = RunFolder(config.output)
    open_run(run, asdict(config))
    if run.summary.exists():  # the run is finished
        return read_json(run.summary)
    clock = RunClock(run)

    with progress.stage("preparing scenes (once)", len(tasks)) as step:
        for task in tasks:
            config.env.prepare([task])
            step(1)

    if config.policy is not None:
        policy = load_policy(config.policy, config.lerobot, config.vlm)
    else:
        policy = starting_policy(config, run.path / "clone", tasks, progress)
    if config.steer_noise:
        policy = steered(policy, config.seed)
    if config.guidance.hinter != "none" and not policy.follows_hints:
        raise HoneError(
            f"guidance needs a policy that keeps hints apart, and this '{policy.name}' policy does not; clone one with "
            "--network.follows-hints --clone.hinted 0.5 --clone.drills 0.5."
        )
    if isinstance(reward, ProgressReward):
        reward.check(policy.spec)
    official = Setup(tasks, "official", tuple(range(config.final_placements)), seed=config.seed)
    proof = Proof(run, config.env, config.workers, config.slots, progress, ray)
    before = proof.evaluate(run.evaluation_before, policy, official, "before")
    proof.film(policy, tasks, "before")
    clock.save()

    base = None if config.memory is None else weights_of(policy)
    policy, counts = _train(config, run, policy, tasks, reward, clock, progress, ("tensorboard", *track), ray)
    if config.memory is not None and base is not None:
        remember(Memory.open(config.memory), run, policy, base, tasks)

    after = proof.evaluate(run.evaluation_after, policy, official, "after")
    proof.film(policy, tasks, "after")
    probes = proof.probe(policy, replace(official, placements=tuple(range(config.probe_placements))))

    summary = {
        "before": before.summary(),
        "after": after.summary(),
        "paired_difference": asdict(paired_difference(before, after, config.seed)),
        "probes": probes,
        "minutes": clock.minutes(),
        "rollouts": counts["rollouts"],
        "env_steps": counts["env_steps"],
        "cost": {
            "evaluation before": asdict(before.cost),
            "training": {f.name: counts[f.name] for f in fields(Cost)},
            "evaluation after": asdict(after.cost),
        },
        "faults": counts["faults"] + before.summary()["faults"] + after.summary()["faults"],
        "seed": config.seed,
        "demonstrations_per_task": 0 if config.policy else config.demos,
        "protocol": after.protocol.to_json(),
        "commit": source_commit(),
    }
    write_json(run.summary, summary)
    return summary


def starting_policy(config: ImproveConfig, folder: Path, tasks: Sequence[Task], progress: Progress) -> LearnedPolicy:
    """The policy in `folder`, cloned from demonstrations of `tasks` as the run's settings say if it is not there."""
    return cloned_policy(
        folder,
        tasks,
        demos=config.demos,
        manner=config.manner,
        network=config.network,
        cloning=config.clone,
        env=config.env,
        slots=config.slots,
        seed=config.seed,
        progress=progress,
    )


# ---------------------------------------------------------------------------------------------------------- training


def _train(
    config: ImproveConfig,
    run: RunFolder,
    policy: LearnedPolicy,
    tasks: tuple[Task, ...],
    reward: RewardFn[Any],
    clock: RunClock,
    progress: Progress,
    track: Sequence[str],
    ray: str | None,
) -> tuple[LearnedPolicy, dict[str, Any]]:
    """Practice from the last checkpoint, or from the start."""
    checkpoint = load_latest(run.path)
    if checkpoint is not None:
        policy = load_policy(checkpoint.policy_folder)
    policy.train_encoder = config.train_encoder
    grpo = GRPO(policy, config.grpo)
    counts: dict[str, Any] = {"rollouts": 0, "faults": 0, **asdict(Cost())}
    curriculum = Curriculum(tasks, config.curriculum)
    synthesized = reward if isinstance(reward, AdaptiveReward) else None
    guidance = build_guidance(config.guidance, policy.chunk_length)
    book = LessonBook(config.distillation.remembered)
    benefit = Benefit()
    first = 0
    if checkpoint is not None:
        first = checkpoint.iteration
        moments = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith(LESSONS)}
        grpo.load_state_dict({"tensors": moments, "learning_rate": checkpoint.state["learning_rate"]})
        book.load(checkpoint.tensors, policy.features_version)
        curriculum.load_state_dict(checkpoint.state["curriculum"])
        counts = checkpoint.state["counts"]
        benefit.load_state_dict(checkpoint.state["benefit"])
        if synthesized is not None:
            synthesized.load_state_dict(checkpoint.state["reward"])
    if first == config.iterations:
        return policy, counts

    seen = isinstance(reward, ProgressReward)  # which must not learn of success from an episode's end
    stored = config.train_encoder or policy.keeps_observations
    keep = "observations" if stored or seen else "features"
    env = config.env.seen_by(policy.spec)
    env = env.for_practice(config.train_step_cap, stop_at_success=not seen)
    validation = Setup(tasks, "sampled", tuple(VALIDATION_SEEDS[: config.curve_placements]), seed=config.seed)
    with (
        open_pool(env, policy, config.workers, config.slots, ray) as pool,
        RunLog(run, resume_after=first if checkpoint else None, track=track) as run_log,
        progress.stage("improving (GRPO)", config.iterations, first) as step,
    ):
        audit = Audit(rows=map(AuditRow.from_json, read_rows(run.audit)))
        episodes = EpisodeMemory(run.attempts)

        def log_evaluation(iteration: int) -> None:
            so_far = {"iteration": iteration, "rollouts": counts["rollouts"], "minutes": clock.minutes()}
            run_log.evaluation({**so_far, **_curve_point(pool, policy, validation, env)})

        if first == 0:
            if config.memory is not None:
                memories = Memory.open(config.memory)
                warm_start(memories, policy, tasks, config.retrieval, torch_generator(config.seed, "retrieval"))
            log_evaluation(0)
        for iteration in range(first + 1, config.iterations + 1):
            started, asked = time.monotonic(), calls_of(reward, guidance and guidance.hinter)
            policy.exploration = curriculum.widening * config.exploration_at(iteration - 1, policy.head.practice)
            requests = training_requests(config, curriculum.groups(config.groups), iteration)
            if guidance is not None:
                requests = mark_hinted(
                    requests, lambda task: config.guidance.probability(benefit.plain(task)), benefit.known
                )
                if config.guidance.spread:
                    requests = spread(requests, TRAINING_SEEDS)
            plain, by_search = config.teacher.divided(requests, config.group_size)
            searched = pool.collect(by_search, keep=keep, planning=config.teacher.planning(env)) if by_search else []
            trajectories = pool.collect(
                plain,
                keep=keep,
                witness=None if synthesized is None else Claims(synthesized.programs, synthesized.planner),
                guidance=None if guidance is None else guidance.recalling(episodes, tasks),
            )
            if config.teacher.in_groups:
                trajectories = trajectories + searched
            valid = [t for t in trajectories if t.status != "error"]
            if not valid:
                raise HoneError(f"every episode of update {iteration} was a fault ({trajectories[0].fault}).")
            outcome = judged(reward, valid)
            if seen and not stored:
                valid = [encoded(policy, t) for t in valid]
            batch, stats = decision_batch(valid, outcome, config.credit)
            metrics = grpo.update(batch, torch_generator(config.seed, "update", iteration))
            if config.teacher.distil and any(t.success for t in searched):
                lesson = taught(searched, config.teacher.teaching)
                told = teach(policy, lesson, config.teacher.teaching, torch_generator(config.seed, "teach", iteration))
                metrics |= {f"teacher_{name}": value for name, value in told.items()}
            if guidance is not None:
                benefit.update(valid, outcome.succeeded)
                new = lessons(policy, valid, outcome.succeeded, benefit.helps)
                helped = [task for task in tasks if benefit.helps(task)]
                given = None if new is None else book.add(new).heeding(helped)
                if given:
                    drawn = torch_generator(config.seed, "distillation", iteration)
                    metrics |= distill(policy, given, config.distillation, drawn)
            unaided = [
                (t.request.task, done) for t, done in zip(valid, outcome.succeeded, strict=True) if not t.request.hinted
            ]
            curriculum.update(unaided, float(np.mean(outcome.succeeded)))
            tried = attempts(run.path.name, iteration, valid, outcome, synthesized.programs if synthesized else {})
            if config.reward != "success":
                rows = audit_rows(iteration, valid, outcome)
                audit.add(rows)
                run_log.audit([row.to_json() for row in rows])
            if synthesized is not None:
                for revision in synthesized.update(valid, outcome.verdicts, episodes.told(tasks)):
                    run_log.revision({"iteration": iteration, **revision.to_json()})
            episodes.add(tried)

            counts = {
                "rollouts": counts["rollouts"] + len(valid),
                "faults": counts["faults"] + len(trajectories) - len(valid),
                "env_steps": counts["env_steps"] + sum(t.steps for t in valid),
                "decoder_evaluations": counts["decoder_evaluations"] + sum(t.decisions for t in valid),
                "judge_calls": counts["judge_calls"] + calls_of(reward, guidance and guidance.hinter) - asked,
                "simulator_steps": counts["simulator_steps"]
                + sum((t.report or {})["search"]["simulator_steps"] for t in searched),
                "core_seconds": counts["core_seconds"] + (time.monotonic() - started) * max(config.workers, 1),
            }
            success = float(np.mean([t.success for t in valid]))  # for the log alone
            hinted = [t.success for t in valid if t.request.hinted]
            run_log.training(
                {
                    "iteration": iteration,
                    **counts,
                    "minutes": clock.minutes(),
                    "train_success": success,
                    "hinted_episodes": len(hinted),
                    "hinted_success": float(np.mean(hinted)) if hinted else 0.0,
                    "reward_mean": stats.reward_mean,
                    "dead_groups": stats.dead_groups,
                    "alive_groups": stats.groups - stats.dead_groups,
                    "exploration": policy.exploration,
                    "lr": metrics.pop("learning_rate"),
                    **metrics,
                }
            )
            if iteration % config.evaluate_every == 0 or iteration == config.iterations:
                log_evaluation(iteration)
            state = grpo.state_dict()
            save_checkpoint(
                run.path,
                iteration,
                policy,
                tensors={**state["tensors"], **book.tensors()},
                state={
                    "learning_rate": state["learning_rate"],
                    "counts": counts,
                    "curriculum": curriculum.state_dict(),
                    "benefit": benefit.state_dict(),
                    "reward": None if synthesized is None else synthesized.state_dict(),
                },
            )
            if guidance is not None and guidance.given_up:
                guidance = None
            clock.save()
            step(1, f"sampled success {success:.0%}")
    return policy, counts


def training_requests(config: ImproveConfig, group_tasks: Sequence[Task], iteration: int) -> list[EpisodeRequest]:
    """`group_size` episodes of each group's task, all from a training placement of the group's own."""
    requests = []
    for group, task in enumerate(group_tasks):
        drawn = derive_seed(config.seed, "placement", iteration, group)
        placement = Placement("sampled", TRAINING_SEEDS[drawn % len(TRAINING_SEEDS)])
        for member in range(config.group_size):
            seed = derive_seed(config.seed, "episode", iteration, group, member)
            requests.append(EpisodeRequest(len(requests), task, placement, seed, group))
    return requests


def _curve_point(pool: Pool, policy: LearnedPolicy, setup: Setup, env: EnvironmentConfig) -> dict[str, Any]:
    """One point of the greedy success curve, on validation placements in the training environment."""
    result = evaluate(pool, policy, setup, lambda s: protocol_card(s, env, policy), hold=False).summary()
    return {"mode": "greedy", **{key: result[key] for key in TALLY}, "per_task": result["per_task"]}
