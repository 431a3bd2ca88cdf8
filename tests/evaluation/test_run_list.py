"""Listing, comparing and reading back runs that were made up."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
from synthetic_run import make_result, make_run

from hone.errors import HoneError
from hone.evaluation.run_folder import RunFolder, open_run, write_json
from hone.evaluation.run_list import compare_runs, find_runs
from hone.evaluation.settings import read_settings


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_run(RunFolder(tmp_path / "runs" / "a"))
    nested = RunFolder(tmp_path / "runs" / "bench" / "seed-1")
    write_json(nested.config, {"suite": "libero_object", "seed": 1, "iterations": 30})
    with nested.metrics.open("w") as file:
        file.write(json.dumps({"iteration": 12, "rollouts": 864}) + "\n")
    policy = tmp_path / "runs" / "a" / "clone"
    policy.mkdir()
    (policy / "config.json").write_text("{}")
    (policy / "model.safetensors").write_bytes(b"")
    return tmp_path / "runs"


def test_every_run_is_listed_with_how_far_it_came_and_no_policy_is_taken_for_one(runs: Path) -> None:
    a, nested = find_runs(runs)
    assert (a.name, nested.name) == ("a", "bench/seed-1")
    assert (nested.state, nested.before, nested.rollouts, nested.seed) == (
        "stopped after update 12 of 30",
        None,
        864,
        1,
    )
    assert a.difference is not None
    assert a.before is not None
    assert a.to_json()["before"]["successes"] == a.before.summary()["successes"]
    assert json.dumps([entry.to_json() for entry in (a, nested)])


def test_a_folder_without_runs_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(HoneError, match="no run in"):
        find_runs(tmp_path)
    with pytest.raises(HoneError, match="no folder"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(HoneError, match="is not a run"):
        compare_runs(tmp_path, tmp_path)


def test_two_runs_are_compared_on_the_same_placements_whatever_their_seeds(runs: Path) -> None:
    other = RunFolder(runs / "b")
    make_run(other)
    write_json(other.config, {"suite": "libero_object", "tasks": [0, 1, 2], "seed": 5, "grpo": {"epochs": 2}})
    worse = make_result((0.56, 0.54, 0.9), seed=2)
    worse = replace(worse, protocol=replace(worse.protocol, seeds=(5,)))
    replace(worse, episodes=tuple(replace(e, seed=77) for e in worse.episodes)).save(other.evaluation_after)
    comparison = compare_runs(runs / "a", runs / "b")
    assert comparison.settings == {"demonstrations": (3, None), "grpo.epochs": (None, 2), "seed": (0, 5)}
    assert comparison.difference is not None
    assert comparison.difference.mean == pytest.approx((28 + 27 + 45 - 48 - 47 - 50) / 150)
    assert compare_runs(runs / "a", runs / "bench" / "seed-1").incomparable.startswith("'seed-1' has no evaluation")
    worse = replace(worse, protocol=replace(worse.protocol, step_cap=900))
    worse.save(other.evaluation_after)
    assert "step_cap: 280 and 900" in compare_runs(runs / "a", runs / "b").incomparable


@dataclass(frozen=True)
class Sine:
    rate: float = 1.0


@dataclass(frozen=True)
class Step:
    height: float = 1.0
    at: tuple[int, ...] = ()


@dataclass(frozen=True)
class Settings:
    output: Path = Path("runs/x")
    shape: Sine | Step = field(default_factory=Sine)
    memory: Path | None = None
    steps: int | None = None


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    for settings in (Settings(), Settings(Path("y"), Step(2.0, (1, 2)), Path("m"), 3)):
        run = RunFolder(tmp_path / str(settings.steps))
        open_run(run, asdict(settings))
        back = read_settings(Settings, json.loads(run.config.read_text()), "config.json")
        assert back == settings
        open_run(run, asdict(back))  # and are the same run
    with pytest.raises(HoneError, match=r"unknown setting of Settings in config.json 'ouput'. Did you mean 'output'"):
        read_settings(Settings, {"ouput": "x"}, "config.json")
    with pytest.raises(HoneError, match="does not say which of Sine, Step is meant"):
        read_settings(Settings, {"shape": {"size": 1}}, "config.json")


def test_every_recipe_of_the_house_comes_back(tmp_path: Path) -> None:
    from hone.cli.demo import demo_recipe
    from hone.policies.heads import FlowHeadConfig
    from hone.policies.small import SmallPolicyConfig
    from hone.training.improve import ImproveConfig

    flow = SmallPolicyConfig(head=FlowHeadConfig())
    for number, settings in enumerate((demo_recipe(tmp_path / "d", 3), ImproveConfig(network=flow))):
        run = RunFolder(tmp_path / str(number))
        open_run(run, asdict(settings))
        assert read_settings(ImproveConfig, json.loads(run.config.read_text()), "config.json") == settings
