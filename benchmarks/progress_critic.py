"""How well a critic that sees only pictures tells progress, on tasks that it was not trained on.

    python benchmarks/progress_critic.py

Records expert episodes, noisy ones, and graded failures (the expert stops half-way and stands about; a hand that only
wanders) of each task at sampled placements, looking every 8 control steps. Labels are privileged, pictures are not: an
expert's frame is as far as the share of its steps that are done; standing about adds nothing. Each seed holds two
other tasks of each suite out, trains on the rest, and measures on the held-out ones; once with every clip told its own
goal, once with some told another task's. One row per seed and arm in results/progress_critic.jsonl; recordings are kept
in runs/, and it resumes.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from hone.cache import write_atomically
from hone.data.demonstrations import PLACEMENTS
from hone.envs.libero.environment import LiberoConfig, LiberoEnvironment
from hone.envs.libero.suites import tasks
from hone.primitives.expert import Expert, correlated_noise
from hone.rewards.progress import CriticConfig, ProgressCritic
from hone.seeding import derive_seed, numpy_generator, torch_generator
from hone.training.progress_critic import Clip, CriticTraining, train_critic
from hone.types import Placement, Task
from rows import append_row, finished

log = logging.getLogger(__name__)

Kind = Literal["expert", "noisy", "stopped", "wandering"]
KINDS: tuple[Kind, ...] = ("expert", "noisy", "stopped", "wandering")
LOOK_EVERY = 8
"""Control steps between two looks, as many as the small policy's chunk has."""
STEP_CAP = 600
NOISE = {"expert": 0.0, "noisy": 0.4, "stopped": 0.1, "wandering": 0.6}
"""Standard deviation of the noise on the actions; of `stopped`, after the expert has stopped."""
HAND_OPEN = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])


@dataclass(frozen=True)
class Config:
    suites: tuple[str, ...] = ("libero_object",)
    seeds: tuple[int, ...] = (0, 1, 2)
    placements: int = 3
    """Sampled placements per task and kind; the last is for choosing the threshold."""
    held_out: int = 2
    """Tasks per suite not trained on: seed `s` holds out numbers `s * held_out` and following."""
    wrong_goals: tuple[float, ...] = (0.0, 0.25)
    """Arms: the share of clips that are told the goal of another task."""
    training: CriticTraining = field(default_factory=CriticTraining)
    network: CriticConfig = field(default_factory=CriticConfig)
    output: Path = Path("runs/benchmark-progress-critic")


@dataclass(frozen=True)
class Recording:
    """One episode as it was looked at; `progress` is NaN where nobody can say (a noisy episode that failed)."""

    task: Task
    number: int
    kind: Kind
    success: bool
    clip: Clip


def main(config: Config) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    recordings = list(recorded(config))
    for wrong_goal in config.wrong_goals:
        training = replace(config.training, wrong_goal=wrong_goal)
        for seed in config.seeds:
            keys = {"seed": seed, "wrong_goal": wrong_goal, "suites": list(config.suites), "steps": training.steps}
            keys |= {"placements": config.placements, "held_out_per_suite": config.held_out}
            if not finished("progress_critic", **keys):
                append_row("progress_critic", {**keys, **measured(config, training, seed, recordings)})


# ------------------------------------------------------------------------------------------------------------ recording


def recorded(config: Config) -> Iterator[Recording]:
    """Every recording, made where it is not in the output folder yet."""
    env = LiberoConfig(physics="fast", images=True, step_cap=STEP_CAP, stop_at_success=False).build(1)
    for suite in config.suites:
        others = tuple(task.instruction for task in tasks(suite))
        for task in tasks(suite):
            for number in range(config.placements):
                length = 0
                for kind in KINDS:
                    path = config.output / "recordings" / f"{suite}-{task.index}-{number}-{kind}.npz"
                    if not path.exists():
                        frames, progress, success = episode(env, task, number, kind, length)
                        write_clip(path, frames, progress, success)
                        log.info("%s: %d looks, success %s", path.stem, len(frames), success)
                    with np.load(path) as arrays:
                        frames, progress, success = arrays["frames"], arrays["progress"], bool(arrays["success"])
                    length = length or LOOK_EVERY * (len(frames) - 1)  # the others take about as long as the expert
                    other_goals = tuple(goal for goal in others if goal != task.instruction)
                    clip = Clip(task.instruction, frames, progress, other_goals)
                    yield Recording(task, number, kind, success, clip)
    env.close()


def write_clip(path: Path, frames: np.ndarray, progress: np.ndarray, success: bool) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, frames=frames, progress=progress, success=np.array(success))
    write_atomically(path, buffer.getvalue())


def episode(
    env: LiberoEnvironment, task: Task, number: int, kind: Kind, expert_steps: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Frames `[T, C, S, S, 3]`, labels `[T]` and whether the task was done at the end."""
    generator = numpy_generator(0, "progress critic", task.suite, task.name, number, kind)
    env.reset([0], [task], [Placement("sampled", PLACEMENTS[number])])
    expert = Expert() if kind != "wandering" else None
    stop_at = int(expert_steps * generator.uniform(0.2, 0.8)) if kind == "stopped" else STEP_CAP
    noise, action, frames, done, step = np.zeros(6), HAND_OPEN, [], [], 0
    while step < STEP_CAP:
        (facts,) = env.facts([0])
        command = expert.act(facts) if expert is not None and step < stop_at else None
        if command is None and kind in ("expert", "noisy"):
            break
        if kind in ("stopped", "wandering") and step >= expert_steps:
            break
        if step % LOOK_EVERY == 0:
            frames.append(env.render([0])[0])
            done.append(step)
        # Who has stopped keeps the hand as it was.
        action = command.action if command is not None else np.concatenate([np.zeros(6), action[6:]])
        scale = NOISE[kind] if command is None or kind == "noisy" else 0.0
        noise = correlated_noise(noise, scale, generator) * (1.0 if command is None else command.freedom)
        executed = np.concatenate([np.clip(action[:6] + noise, -1, 1), action[6:]]).astype(np.float32)
        if env.step([0], executed[None, None]).diverged[0]:
            break
        step += 1
    frames.append(env.render([0])[0])
    done.append(step)
    success = all(env.facts([0])[0].satisfied)
    return np.stack(frames), labels(kind, np.array(done), stop_at, expert_steps, success), success


def labels(kind: Kind, done: np.ndarray, stop_at: int, expert_steps: int, success: bool) -> np.ndarray:
    """How far each look is, given the control steps `done` before it."""
    if kind == "wandering":
        progress = np.zeros(len(done))
    elif kind == "stopped":
        progress = np.minimum(done, stop_at) / expert_steps
    else:
        progress = done / max(done[-1], 1) if success else np.full(len(done), np.nan)
    return progress.astype(np.float32)


# ------------------------------------------------------------------------------------------------------------ measuring


def measured(config: Config, training: CriticTraining, seed: int, recordings: Sequence[Recording]) -> dict[str, Any]:
    """Train with this seed's tasks held out, and measure."""
    started = time.process_time()
    held_out = {seed * config.held_out + i for i in range(config.held_out)}
    seen = [r for r in recordings if r.task.index not in held_out]
    unseen = [r for r in recordings if r.task.index in held_out]
    secret = {r.clip.goal for r in unseen}  # as another task's goal they would be taught to mean "no progress"
    clips = [
        replace(r.clip, other_goals=tuple(goal for goal in r.clip.other_goals if goal not in secret))
        for r in seen
        if r.number < config.placements - 1 and np.isfinite(r.clip.progress).all()
    ]
    critic = ProgressCritic(config.network, derive_seed(seed, "critic") % 2**31)

    def report(step: int, loss: float) -> None:
        if step % 25 == 0:
            log.info("seed %d, step %d: loss %.4f, %.0f s", seed, step, loss, time.process_time() - started)

    train_critic(critic, clips, training, torch_generator(seed, "critic"), report)
    name = f"seed-{seed}-wrong-goal-{training.wrong_goal:g}-{training.steps}-{'-'.join(config.suites)}"
    critic.save(config.output / name)
    validation = [judged(critic, r) for r in seen if r.number == config.placements - 1]
    judgements = [judged(critic, r) for r in unseen]
    threshold = best_threshold(*scored(validation))
    return {
        "held_out_tasks": sorted(held_out),
        "training_clips": len(clips),
        "cpu_minutes": (time.process_time() - started) / 60,
        "threshold": threshold,
        "seen_tasks": report_on(validation, threshold),
        "held_out": report_on(judgements, threshold),
        "held_out_by_suite": {
            suite: report_on([j for j in judgements if j.recording.task.suite == suite], threshold)
            for suite in config.suites
        },
    }


@dataclass(frozen=True)
class Judgement:
    """A recording, and what the critic says of every pair of its frames, `[T, T]`; `wrongly`: told another goal."""

    recording: Recording
    progress: np.ndarray
    wrongly: np.ndarray

    @property
    def score(self) -> float:
        """Progress from the first look to the last."""
        return float(self.progress[0, -1])


def judged(critic: ProgressCritic, recording: Recording) -> Judgement:
    clip = recording.clip
    ends = clip.frames[[0, -1]]
    return Judgement(
        recording, critic.between_all(clip.frames, clip.goal), critic.between_all(ends, clip.other_goals[0])
    )


def report_on(judgements: Sequence[Judgement], threshold: float) -> dict[str, Any]:
    """Ordering within successful episodes, and telling successes from failures."""
    successes = [j for j in judgements if j.recording.success]
    scores, truth = scored(judgements)
    sums = np.array([np.diagonal(j.progress, 1).sum() for j in judgements])
    called = scores >= threshold
    return {
        "episodes": len(judgements),
        "successes": int(truth.sum()),
        "pairwise_accuracy": float(np.mean([(in_order(j.progress) > 0).mean() for j in successes])),
        "adjacent_accuracy": float(np.mean([(np.diagonal(j.progress, 1) > 0).mean() for j in successes])),
        "voc": float(np.mean([rank_correlation(j.progress[0]) for j in successes])),
        "precision": float(truth[called].mean()) if called.any() else None,
        "recall": float(called[truth].mean()),
        "base_rate": float(truth.mean()),
        "auc": auc(scores, truth),
        "auc_of_sum": auc(sums, truth),
        "called_with_wrong_goal": float(np.mean([j.wrongly[0, -1] >= threshold for j in successes])),
        "final_progress": {
            kind: float(np.mean([j.score for j in judgements if j.recording.kind == kind])) for kind in KINDS
        },
    }


def scored(judgements: Sequence[Judgement]) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and true success."""
    return np.array([j.score for j in judgements]), np.array([j.recording.success for j in judgements])


def in_order(progress: np.ndarray) -> np.ndarray:
    """The entries above the diagonal: all pairs in the order of time."""
    return progress[np.triu_indices(len(progress), 1)]


def rank_correlation(values: np.ndarray) -> float:
    """Spearman's, of values with their order in time (VOC)."""
    ranks = np.argsort(np.argsort(values))
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Probability that a success scores higher than a failure; 0.5 is chance."""
    gap = scores[truth][:, None] - scores[~truth][None]
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The score from which on calling success gives the best F1 (harmonic mean of precision and recall)."""
    f1 = [2 * (truth & (scores >= s)).sum() / (truth.sum() + (scores >= s).sum()) for s in scores]
    return float(scores[int(np.argmax(f1))])


if __name__ == "__main__":
    main(tyro.cli(Config))
