"""The agentic loop one part at a time: the arms of `hone bench agentic` and of benchmarks/agentic.py.

All arms of a row and seed start from the same policy, bit for bit, take the same number of rollouts, and are measured
on the same official initial states, without hints. An arm changes nothing of plain GRPO but what its name says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from hone.envs.libero.suites import tasks as suite_tasks
from hone.errors import unknown_name
from hone.evaluation.progress import SILENT, Progress
from hone.evaluation.results import EvaluationResult, paired_difference
from hone.evaluation.run_folder import RunFolder, open_run, read_rows
from hone.evaluation.runner import Setup
from hone.exploration.distillation import DistillationConfig
from hone.exploration.guidance import GuidanceConfig
from hone.policies.learned import LearnedPolicy
from hone.policies.pretrained import WEIGHTS_NAME
from hone.policies.small import SmallPolicyConfig
from hone.rewards import SynthesisConfig
from hone.rewards.detectors import DetectorConfig
from hone.training.behavior_cloning import BehaviorCloningConfig
from hone.training.expert_control import Asked, cloned_within
from hone.training.grpo import GRPOConfig
from hone.training.improve import ImproveConfig, improve, starting_policy
from hone.training.proof import Proof

CLONED = "cloned"
"""The policy every other arm starts from."""
EXPERT = "expert"
"""A control: no practice, but demonstrations of the very tasks for as many control steps as `grpo_binary` took."""
PROGRESS = {"reward": "synthesized", "synthesis": SynthesisConfig(weights="fixed"), "credit": "episode"}
CREDIT = {**PROGRESS, "credit": "milestones"}
ADAPTIVE = {**CREDIT, "synthesis": SynthesisConfig(weights="adaptive", judge="rules")}
GUIDED = {**ADAPTIVE, "hinter": "rules"}
AGENTIC = {**GUIDED, "curriculum": "learnability"}
ARMS: dict[str, Mapping[str, Any]] = {
    "grpo_binary": {},
    "progress": PROGRESS,
    "credit": CREDIT,
    "adaptive": ADAPTIVE,
    "guided": GUIDED,
    "agentic": AGENTIC,
    "hints_alone": {**GUIDED, "grpo": GRPOConfig(epochs=0)},
    "oracle_subgoals": {**CREDIT, "synthesis": SynthesisConfig(weights="fixed", planner="goal")},
    "uniform_weights": {**CREDIT, "synthesis": SynthesisConfig(weights="uniform")},
    "random_hints": {**ADAPTIVE, "hinter": "random"},
    "wrong_detector": {**CREDIT, "synthesis": SynthesisConfig(weights="fixed", detector=DetectorConfig(kind="wrong"))},
    "noisy_detector": {**CREDIT, "synthesis": SynthesisConfig(weights="fixed", detector=DetectorConfig(kind="noisy"))},
    "delayed_detector": {
        **CREDIT,
        "synthesis": SynthesisConfig(weights="fixed", detector=DetectorConfig(kind="delayed")),
    },
}
"""What each arm changes of `ImproveConfig` (`changed`): the ladder, one part more on each rung, then its controls."""
UNTIL = {"80": 0.8, "90": 0.9}
"""Success rates whose first crossing on the curve is reported, in rollouts."""


@dataclass(frozen=True)
class Row:
    """One line of the benchmark's table: where the policy comes from, and what it has to practise."""

    name: str
    suite: str
    tasks: tuple[int, ...] = ()
    """All of the suite, if none is given."""
    demonstrated: str | None = None
    """The suite the policy was cloned on, where that is another one: the tasks then have no demonstrations."""
    practice: ImproveConfig = field(default_factory=ImproveConfig)
    """Everything else: demonstrations, network, budget."""


PRACTICE = ImproveConfig(
    demos=1,
    network=SmallPolicyConfig(inputs="state", follows_hints=True),
    clone=BehaviorCloningConfig(steps=1500, hinted=0.5, drills=0.5),
    groups=20,
    iterations=10,
    train_step_cap=280,
    evaluate_every=2,
    curve_placements=10,
    probe_placements=2,
)
"""The privileged state policy, whose rollouts cost no pictures."""
LONG_PRACTICE = replace(
    PRACTICE,
    demos=15,
    network=replace(PRACTICE.network, state_tokens="objects_v2"),
    clone=replace(PRACTICE.clone, steps=3000),
    guidance=GuidanceConfig(p_max=0.9, decay=1.0, thinks_along=False),
    distillation=DistillationConfig(steps=3000, remembered=60_000),
    train_step_cap=520,
)
"""Several things after each other, from a start of about 40 %. What is in a drawer, or third in a row, must be seen.
More is hinted than on short tasks, and only what succeeded is learned (docs/algorithms/exploration.md)."""
SEEING_PRACTICE = replace(
    PRACTICE, network=SmallPolicyConfig(follows_hints=True), clone=replace(PRACTICE.clone, steps=600)
)
"""The image policy, which is told nothing that cameras do not show but the hints."""
ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("one_shot", "libero_spatial", practice=PRACTICE),
        Row("one_shot_images", "libero_spatial", practice=SEEING_PRACTICE),
        Row("one_shot_quick", "libero_spatial", (1, 6, 8), practice=replace(PRACTICE, groups=9, iterations=6)),
        Row("no_demonstrations", "libero_spatial", demonstrated="libero_object", practice=PRACTICE),
        Row("long", "libero_10", practice=LONG_PRACTICE),
    )
}


def run_arm(row: Row, arm: str, seed: int, folder: Path, progress: Progress = SILENT) -> dict[str, Any]:
    """Run one arm in `folder`, or what is left of it, and return its line of the table.

    `folder/start-SEED` holds the starting policy, `folder/ARM-SEED` the run. "cloned" is that policy before any
    practice; it is measured once, and that is the evaluation that every arm of this seed begins with. "expert" has no
    practice and begins anew, from as many control steps of demonstrations as "grpo_binary" practised for.
    """
    if arm not in (CLONED, EXPERT, *ARMS):
        raise unknown_name("arm", arm, (CLONED, EXPERT, *ARMS))
    config = replace(row.practice, suite=row.suite, tasks=row.tasks, seed=seed)
    demonstrated = config.chosen_tasks if row.demonstrated is None else suite_tasks(row.demonstrated)
    start = folder / f"start-{seed}"
    policy = starting_policy(config, start, demonstrated, progress)
    config = replace(config, policy=start, output=folder / f"{CLONED}-{seed}")
    before = measured_start(config, policy, progress)
    if arm == CLONED:
        return {**_line(row, arm, seed, before.summary()), "rollouts": 0, "rollouts_until": dict.fromkeys(UNTIL)}
    if arm == EXPERT:
        practised = run_arm(row, "grpo_binary", seed, folder, progress)
        config = replace(config, output=folder / f"{EXPERT}-{seed}")
        after, asked = ask_the_expert(config, practised["env_steps"], progress)
        return {
            **_line(row, arm, seed, after.summary()),
            "control": "the expert demonstrated the tasks that are measured",
            "gain": asdict(paired_difference(before, after, seed)),
            "rollouts": asked.demonstrations,
            "rollouts_until": dict.fromkeys(UNTIL),
            "env_steps": asked.env_steps,
        }
    config = replace(changed(config, arm), output=folder / f"{arm}-{seed}")
    take_over(before, config, f"{CLONED}-{seed}")
    summary = improve(config, progress)
    curve = read_rows(RunFolder(config.output).evaluations)
    reached = {
        name: next((point["rollouts"] for point in curve if point["success_rate"] >= rate), None)
        for name, rate in UNTIL.items()
    }
    return {
        **_line(row, arm, seed, summary["after"]),
        "gain": summary["paired_difference"],
        "rollouts": summary["rollouts"],
        "rollouts_until": reached,
        "curve": [[point["rollouts"], point["success_rate"]] for point in curve],
        "minutes": summary["minutes"],
        "env_steps": summary["env_steps"],
        "faults": summary["faults"],
    }


def changed(config: ImproveConfig, arm: str) -> ImproveConfig:
    """A row's settings as an arm has them: who hints, if anybody does, hints as often as the row says."""
    changes = dict(ARMS[arm])
    hinter = changes.pop("hinter", "none")
    return replace(config, guidance=replace(config.guidance, hinter=hinter), **changes)


def measured_start(config: ImproveConfig, policy: LearnedPolicy, progress: Progress) -> EvaluationResult:
    """The starting policy on the official states, from `config.output` if it was measured there before.

    `HoneError` where that was another policy, or measured with other settings.
    """
    run = RunFolder(config.output)
    assert config.policy is not None
    weights = sha256((config.policy / WEIGHTS_NAME).read_bytes()).hexdigest()
    open_run(run, {**asdict(config), "weights": weights})
    proof = Proof(run, config.env, config.workers, config.slots, progress)
    return proof.evaluate(run.evaluation_before, policy, official(config), "before")


def ask_the_expert(config: ImproveConfig, budget: int, progress: Progress) -> tuple[EvaluationResult, Asked]:
    """What cloning alone comes to on the official states, from demonstrations for `budget` control steps."""
    run = RunFolder(config.output)
    open_run(run, {**asdict(config), "budget": budget})
    policy, asked = cloned_within(
        run.path / "policy",
        config.chosen_tasks,
        budget,
        manner=config.manner,
        network=config.network,
        cloning=config.clone,
        env=config.env,
        slots=config.slots,
        seed=config.seed,
        progress=progress,
    )
    proof = Proof(run, config.env, config.workers, config.slots, progress)
    return proof.evaluate(run.evaluation_after, policy, official(config), "after"), asked


def official(config: ImproveConfig) -> Setup:
    """The evaluation that every arm is measured by."""
    return Setup(config.chosen_tasks, "official", tuple(range(config.final_placements)), seed=config.seed)


def take_over(before: EvaluationResult, config: ImproveConfig, measured_in: str) -> None:
    """Give a run the evaluation of its starting policy, stamped with where it was measured.

    Its commit and its cost stay those of the measurement. A run under another protocol notices when it compares.
    """
    run = RunFolder(config.output)
    open_run(run, asdict(config))
    if not run.evaluation_before.exists():
        stamp = f"{before.policy} (measured once for all arms, in {measured_in})"
        replace(before, policy=stamp).save(run.evaluation_before)


def _line(row: Row, arm: str, seed: int, tally: Mapping[str, Any]) -> dict[str, Any]:
    per_task = {name: task["success_rate"] for name, task in tally["per_task"].items()}
    return {
        "row": row.name,
        "arm": arm,
        "seed": seed,
        "success_rate": tally["success_rate"],
        "low": tally["low"],
        "high": tally["high"],
        "episodes": tally["episodes"],
        "worst_task": min(per_task.values()),
        "per_task": per_task,
        "protocol_hash": tally["protocol_hash"],
    }
