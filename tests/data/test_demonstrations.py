"""Recording, on a scene without a simulator and in LIBERO."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scenes import brick_and_bin, step

from hone.cli import main
from hone.data.demonstrations import ATTEMPTS, PLACEMENTS, collect_demonstrations, demonstrate, requests
from hone.data.episodes import read_dataset, read_episodes
from hone.envs.base import StepResult
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.facts import Facts
from hone.envs.libero.suites import task
from hone.errors import HoneError
from hone.primitives.expert import Manner
from hone.primitives.skills import CLOSE
from hone.specs import Spec
from hone.types import Observation, Placement, Task

TASKS = tuple(Task("toy", i, f"task-{i}", f"put brick {i} into the bin") for i in range(2))


@dataclass
class BrickEnvironment:
    """Slots with a brick and a bin; in the first `slippery` placements asked for, the brick cannot be held."""

    num_slots: int
    slippery: int = 0
    cap: int = 1000
    spec: Spec = field(default_factory=lambda: Spec(cameras=()))
    facts_of: dict[int, Facts] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    cursed: set[int] = field(default_factory=set)
    asked: list[Placement] = field(default_factory=list)

    def reset(self, slots: Sequence[int], tasks: Sequence[Task], placements: Sequence[Placement]) -> None:
        for slot, placement in zip(slots, placements, strict=True):
            self.facts_of[slot] = brick_and_bin(brick_y=-0.15 + placement.index / 20480)
            self.steps[slot] = 0
            (self.cursed.add if len(self.asked) < self.slippery else self.cursed.discard)(slot)
            self.asked.append(placement)

    def step(self, slots: Sequence[int], chunks: np.ndarray) -> StepResult:
        for slot, chunk in zip(slots, chunks, strict=True):
            for action in chunk:
                self.facts_of[slot] = step(self.facts_of[slot], action, slippery=slot in self.cursed)
                self.steps[slot] += 1
        n = len(slots)
        capped = np.array([self.steps[slot] >= self.cap for slot in slots])
        return StepResult(
            np.full(n, chunks.shape[1], np.int32), np.zeros(n, bool), np.zeros(n, bool), capped, np.zeros(n, bool)
        )

    def observe(self, slots: Sequence[int]) -> Observation:
        proprio = np.zeros((len(slots), 8), np.float32)
        proprio[:, :3] = [self.facts_of[slot].eef.position for slot in slots]
        return Observation(proprio, tuple("put" for _ in slots), state=proprio[:, None, :])

    def facts(self, slots: Sequence[int]) -> list[Facts]:
        return [self.facts_of[slot] for slot in slots]


def test_one_row_per_step_and_what_was_seen_before_it():
    (episode,) = collect_demonstrations(BrickEnvironment(1), TASKS[:1], per_task=1, seed=0)
    assert episode.status == "success"
    assert np.allclose(episode.proprio[0, :3], brick_and_bin().eef.position)
    assert np.array_equal(episode.actions, episode.executed)
    moved = np.diff(episode.proprio[:, :3], axis=0)
    direction = episode.actions[:-1, :3]
    assert np.all(np.sum(moved * direction, axis=1) >= 0)  # each action's effect is in the next row
    assert episode.images is None
    assert episode.state is not None
    assert episode.actions[-1, 6] < 0  # it ends with the fingers open
    assert len(episode) == len(episode.state) == len(episode.actions)


def test_episodes_do_not_depend_on_the_slots_beside_them():
    alone = collect_demonstrations(BrickEnvironment(1), TASKS, per_task=2, seed=5, manner=Manner(noise=0.2))
    together = collect_demonstrations(BrickEnvironment(3), TASKS, per_task=2, seed=5, manner=Manner(noise=0.2))
    assert [(e.task.index, e.metadata["number"]) for e in alone] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for a, b in zip(alone, together, strict=True):
        assert a.placement == b.placement
        assert np.array_equal(a.executed, b.executed)
        assert np.array_equal(a.proprio, b.proprio)
    assert len({e.placement for e in alone}) == 4
    other = collect_demonstrations(BrickEnvironment(1), TASKS[:1], per_task=1, seed=6, manner=Manner(noise=0.2))
    assert not np.array_equal(other[0].executed[:20], alone[0].executed[:20])


def test_more_demonstrations_begin_with_the_same():
    few = collect_demonstrations(BrickEnvironment(1), TASKS[:1], per_task=1, seed=0)
    many = collect_demonstrations(BrickEnvironment(1), TASKS[:1], per_task=2, seed=0)
    assert few[0].placement == many[0].placement


def test_noise_moves_the_robot_and_not_the_label():
    (episode,) = collect_demonstrations(BrickEnvironment(1), TASKS[:1], per_task=1, seed=0, manner=Manner(noise=0.3))
    injected = episode.executed - episode.actions
    assert episode.status == "success"
    assert np.abs(injected[:10]).max() > 0.1
    assert np.all(injected[:, 6] == 0)
    closing = np.flatnonzero(episode.actions[:, 6] == CLOSE)[0]
    assert np.all(injected[closing : closing + 3] == 0)
    assert np.abs(episode.executed).max() <= 1.0


def test_only_sampled_placements_for_training():
    env = BrickEnvironment(2)
    collect_demonstrations(env, TASKS, per_task=2, seed=0)
    assert all(placement.kind == "sampled" and placement.index in PLACEMENTS for placement in env.asked)


def test_a_failure_is_kept_and_tried_elsewhere():
    env = BrickEnvironment(1, slippery=1)
    episodes = collect_demonstrations(env, TASKS[:1], per_task=1, seed=0)
    assert [e.status for e in episodes] == ["failure", "success"]
    assert [e.metadata["attempt"] for e in episodes] == [0, 1]
    assert episodes[0].placement != episodes[1].placement


def test_gives_up_after_some_attempts():
    episodes = collect_demonstrations(BrickEnvironment(1, slippery=99), TASKS[:1], per_task=1, seed=0)
    assert [e.status for e in episodes] == ["failure"] * ATTEMPTS


def test_an_episode_cut_off_at_its_cap_is_a_failure():
    env = BrickEnvironment(1, cap=20)
    episode = next(demonstrate(env, requests(TASKS[:1], 1), seed=0))
    assert episode.status == "failure"
    assert len(episode) == 20


def test_goes_on_where_it_stopped():
    episodes = collect_demonstrations(BrickEnvironment(1, slippery=1), TASKS[:1], per_task=1, seed=0)
    assert requests(TASKS[:1], 1, episodes) == []
    (left,) = requests(TASKS[:1], 1, episodes[:1])
    assert left.attempt == 1
    (again,) = demonstrate(BrickEnvironment(1), [left], seed=0)
    assert again.placement == episodes[1].placement
    assert np.array_equal(again.actions, episodes[1].actions)


def test_rests_before_the_hand_opens_or_closes():
    (hurried,) = collect_demonstrations(BrickEnvironment(1), TASKS[:1], per_task=1, seed=3)
    (rested,) = collect_demonstrations(
        BrickEnvironment(1), TASKS[:1], per_task=1, seed=3, manner=Manner(longest_rest=8)
    )
    (again,) = collect_demonstrations(BrickEnvironment(1), TASKS[:1], per_task=1, seed=3, manner=Manner(longest_rest=8))
    assert rested.status == "success"
    assert np.array_equal(rested.actions, again.actions)
    assert len(rested) > len(hurried)
    still = np.all(rested.actions[:, :6] == 0, axis=1)
    rests = [still[change - 7 : change + 1].sum() for change in np.flatnonzero(np.diff(rested.actions[:, 6]))]
    assert len(rests) == 2
    assert sum(rests) > 0
    assert rested.metadata["longest_rest"] == 8


def test_bad_numbers_are_refused():
    with pytest.raises(HoneError, match="per_task is 0"):
        requests(TASKS, 0)
    with pytest.raises(HoneError, match="noise=-1"):
        collect_demonstrations(BrickEnvironment(1), TASKS, per_task=1, seed=0, manner=Manner(noise=-1.0))


@pytest.mark.sim
def test_recorded_actions_replayed_solve_the_task():
    """In LIBERO, with images: what was executed, run again from the same placement, succeeds again."""
    chosen = task("libero_object", 1)
    config = LiberoConfig(stop_at_success=False, image_size=32)
    env = config.build(2)
    (episode,) = collect_demonstrations(env, [chosen], per_task=1, seed=0, manner=Manner(noise=0.1))
    assert episode.status == "success"
    assert episode.images is not None
    assert episode.images.shape == (len(episode), 2, 32, 32, 3)
    assert not np.array_equal(episode.images[0], episode.images[-1])
    env.reset([1], [chosen], [episode.placement])
    env.step([1], episode.executed[None])
    assert all(env.facts([1])[0].satisfied)
    env.close()


@pytest.mark.sim
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "demos"
    command = ["demos", "--tasks", "1", "--per-task", "1", "--output", str(out), "--env.image-size", "16", "--json"]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["successes"] == 1
    assert first["per_task"][task("libero_object", 1).name]["mean_steps"] < 160
    (episode,) = read_episodes(out)
    assert read_dataset(out).spec.image_size == 16
    assert episode.placement.kind == "sampled"

    assert main(command) == 0  # nothing is left to do
    assert json.loads(capsys.readouterr().out)["episodes"] == 1
    assert main([*command, "--seed", "1"]) == 2
    assert "seed: there 0, now 1" in capsys.readouterr().err
