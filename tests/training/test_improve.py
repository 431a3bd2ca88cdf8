"""The main job, small but whole: from nothing to a report, stopped half way and taken up again."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from chat_stub import chat_server, say, send
from toy_policies import save_untrained

from hone.cli import main
from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.evaluation.report import write_report
from hone.evaluation.run_folder import read_rows
from hone.exploration.distillation import DistillationConfig
from hone.exploration.guidance import GuidanceConfig
from hone.memory.experience import Memory
from hone.policies import load_policy
from hone.policies.small import SmallPolicyConfig
from hone.rewards import CriticRewardConfig, SynthesisConfig
from hone.rewards.progress import CriticConfig, ProgressCritic
from hone.seeding import torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig
from hone.training.checkpoint import load_latest
from hone.training.improve import (
    TRAINING_SEEDS,
    VALIDATION_SEEDS,
    ImproveConfig,
    improve,
    training_requests,
)
from hone.training.warm_start import warm_start

pytestmark = pytest.mark.sim


def tiny(output: Path) -> ImproveConfig:
    """State policy, one task, two updates: seconds."""
    return ImproveConfig(
        output=output,
        tasks=(0,),
        demos=1,
        iterations=2,
        groups=2,
        group_size=3,
        workers=0,
        slots=6,
        evaluate_every=1,
        curve_placements=1,
        final_placements=2,
        probe_placements=1,
        train_step_cap=60,
        network=SmallPolicyConfig(inputs="state"),
        clone=BehaviorCloningConfig(steps=20),
    )


def agentic(output: Path) -> ImproveConfig:
    """The same with every part of the loop."""
    return replace(
        tiny(output),
        reward="synthesized",
        synthesis=SynthesisConfig(judge="rules"),
        guidance=GuidanceConfig(hinter="rules"),
        curriculum="learnability",
        distillation=DistillationConfig(steps=5),
        network=SmallPolicyConfig(inputs="state", follows_hints=True),
        clone=BehaviorCloningConfig(steps=20, hinted=0.5),
    )


class StopAfter:
    """Progress that presses Ctrl-C after `n` units of the stage called `name`."""

    def __init__(self, name: str, n: int) -> None:
        self.name, self.left = name, n

    @contextmanager
    def stage(self, name, total, done=0):
        def advance(n=1, note=""):
            if name.startswith(self.name):
                self.left -= n
                if self.left == 0:
                    raise KeyboardInterrupt

        yield advance


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody interrupts."""
    config = tiny(tmp_path_factory.mktemp("runs") / "whole")
    return config, improve(config)


@pytest.fixture(scope="module")
def whole_agentic(tmp_path_factory):
    config = agentic(tmp_path_factory.mktemp("runs") / "agentic")
    return config, improve(config)


def test_summary_has_what_a_reader_needs(whole):
    config, summary = whole
    assert summary["rollouts"] == 2 * 2 * 3
    assert summary["env_steps"] == summary["cost"]["training"]["env_steps"] > 0
    assert summary["before"]["episodes"] == summary["after"]["episodes"] == 2
    assert {"mean", "low", "high"} <= summary["paired_difference"].keys()
    assert set(summary["probes"]) == {"normal", "blank", "other_task"}
    assert summary["protocol"]["privilege"] == "object poses"
    assert summary["protocol"]["placement_kind"] == "official"
    assert summary["faults"] == 0
    assert summary == json.loads((config.output / "summary.json").read_text())


@pytest.mark.parametrize("kind", ["whole", "whole_agentic"])
def test_a_run_stopped_half_way_ends_like_one_that_was_not(kind, request, tmp_path, monkeypatch):
    config, _ = request.getfixturevalue(kind)
    again = replace(config, output=tmp_path / "stopped")
    for stage, units in (("cloning", 5), ("improving", 1), ("language", 1)):
        with pytest.raises(KeyboardInterrupt):
            improve(again, StopAfter(stage, units))
        if stage == "improving":
            with monkeypatch.context() as killed:  # all is written but the checkpoint
                killed.setattr("hone.training.improve.save_checkpoint", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    improve(again)
    improve(again)
    checkpoints = [load_latest(path) for path in (config.output, again.output)]
    first, second = (load_policy(c.policy_folder).state_dict() for c in checkpoints if c is not None)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=0, rtol=0)
    attempts = [read_rows(path / "attempts.jsonl") for path in (config.output, again.output)]
    assert [row["iteration"] for row in attempts[0]] == [1] * 6 + [2] * 6
    assert [{**row, "run": ""} for row in attempts[0]] == [{**row, "run": ""} for row in attempts[1]]
    rows = [(path / "metrics.jsonl").read_text().splitlines() for path in (config.output, again.output)]
    assert len(rows[0]) == len(rows[1]) == 2
    assert [json.loads(row)["kl"] for row in rows[0]] == [json.loads(row)["kl"] for row in rows[1]]


def test_a_synthesized_reward_is_audited_rollout_by_rollout(whole_agentic):
    config, summary = whole_agentic
    rows = [json.loads(line) for line in (config.output / "audit.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [1] * 6 + [2] * 6
    assert summary["rollouts"] == len(rows)
    assert all(0 <= row["proxy"] <= 1 for row in rows)
    assert len({row["proxy"] for row in rows}) > 1  # partial credit where nothing succeeds
    assert "Reward audit" in write_report(config.output).read_text()


def test_what_was_learned_is_remembered_and_recalled(whole, tmp_path):
    config, _ = whole
    start = config.output / "clone"
    improve(replace(config, output=tmp_path / "first", policy=start, memory=tmp_path / "memory"))
    checkpoint = load_latest(tmp_path / "first")
    assert checkpoint is not None
    practised, policy = load_policy(checkpoint.policy_folder), load_policy(start)
    policy.train_encoder = False
    memory = Memory.open(tmp_path / "memory")
    warm_start(memory, policy, config.chosen_tasks, "none", torch_generator(0))
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), load_policy(start).parameters(), strict=True))
    warm_start(memory, policy, config.chosen_tasks, "similar", torch_generator(0))
    for got, expected in zip(policy.parameters(), practised.parameters(), strict=True):
        torch.testing.assert_close(got, expected)


def test_a_hinter_whose_server_dies_costs_the_run_its_hints_and_nothing_else(whole_agentic, tmp_path, caplog):
    config, _ = whole_agentic
    said = say({"why": "", "clauses": ["lower", "keep the gripper open"]})
    model = f"stub {time.time_ns()}"  # answers of other runs are in the cache
    with chat_server(*[said] * 3, send(500, "{}")) as stub:
        guidance = GuidanceConfig("llm", p_max=1.0, decay=0.0, model=model, base_url=stub.url, transcript=tmp_path)
        summary = improve(
            replace(
                config,
                output=tmp_path / "run",
                policy=config.output / "clone",
                guidance=guidance,
                group_size=2,
                train_step_cap=16,
                env=LiberoConfig(step_cap=16),
            )
        )
        assert summary["cost"]["training"]["judge_calls"] == len(stub.requests) == 3 + 2
    assert caplog.text.count("the run goes on without hints") == 1
    assert [row["hinted_episodes"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == [2, 0]


def test_a_critic_that_sees_only_pictures_is_a_reward(tmp_path):
    ProgressCritic(CriticConfig(image_size=16, channels=4, camera_dim=4, text_dim=4, hidden=8)).save(
        tmp_path / "critic"
    )
    network = SmallPolicyConfig(image_size=16, channels=4, camera_dim=4)
    save_untrained(SmallPolicyConfig(inputs="state", image_size=16), tmp_path / "blind")
    config = replace(
        tiny(tmp_path / "run"),
        policy=save_untrained(network, tmp_path / "policy"),
        iterations=1,
        group_size=2,
        train_step_cap=24,
        reward="critic",
        critic=CriticRewardConfig(tmp_path / "critic", threshold=-1.0),
        env=LiberoConfig(image_size=16, step_cap=24),
    )
    summary = improve(config)
    rows = read_rows(tmp_path / "run" / "audit.jsonl")
    assert len({row["proxy"] for row in rows}) == len(rows) == summary["rollouts"] == 4
    assert all(row["claimed"] and not row["success"] for row in rows)  # its own account, and the truth beside it
    assert all(row["success"] for row in read_rows(tmp_path / "run" / "attempts.jsonl"))
    assert summary["cost"]["training"]["judge_calls"] == 4
    with pytest.raises(HoneError, match="reads 2 cameras of 16 pixels, but this policy sees 0"):
        improve(replace(config, output=tmp_path / "state", policy=tmp_path / "blind"))


def test_a_folder_of_another_run_is_refused(whole):
    config, _ = whole
    with pytest.raises(HoneError, match="other settings \\(group_size\\)"):
        improve(replace(config, group_size=4))


def test_training_never_starts_where_it_is_measured(whole):
    config, _ = whole
    assert set(VALIDATION_SEEDS).isdisjoint(TRAINING_SEEDS)
    groups = list(config.chosen_tasks) * config.groups
    requests = [r for iteration in range(1, 50) for r in training_requests(config, groups, iteration)]
    assert {r.placement.kind for r in requests} == {"sampled"}
    assert all(r.placement.index in TRAINING_SEEDS for r in requests)
    assert len({r.seed for r in requests}) == len(requests)


def test_the_command_line_reports_and_evaluates(whole, capsys):
    config, summary = whole
    assert main(["report", str(config.output)]) == 0
    assert "object poses" in (config.output / "report.html").read_text()
    capsys.readouterr()
    checkpoint = load_latest(config.output)
    assert checkpoint is not None
    arguments = ["--policy", str(checkpoint.policy_folder), "--tasks", "0", "--placements", "2", "--workers", "0"]
    assert main(["eval", *arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for key in ("success_rate", "successes", "episodes", "low", "high", "per_task", "faults", "protocol"):
        assert key in printed
    assert printed["successes"] == summary["after"]["successes"]
    assert printed["protocol_hash"] == summary["after"]["protocol_hash"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--policy", "nowhere"], "nowhere"),
        (["improve", "--suite", "libero_objects"], "Did you mean 'libero_object'"),
        (["improve", "--tasks", "12"], "tasks 0-9, not 12"),
        (["improve", "--env.assets", "/nowhere"], "no LIBERO assets in '/nowhere'"),
        (["improve", "--reward", "critic"], "needs the folder of a trained critic"),
        (
            ["improve", "--reward", "critic", "--critic.folder", "nowhere"],
            "'nowhere' holds no readable progress critic",
        ),
        (["improve", "--guidance.hinter", "llm"], "needs the name of a model"),
        (["improve", "--guidance.hinter", "llm", "--guidance.model", "m"], "--workers 0"),
        (["improve", "--group-size", "1"], "at least 2 episodes"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_exploration_is_the_heads_own_unless_it_is_given():
    own = (1.0, 0.5)
    assert [ImproveConfig(iterations=3).exploration_at(i, own) for i in range(3)] == [1.0, 0.75, 0.5]
    given = ImproveConfig(iterations=3, exploration=0.2)
    assert [given.exploration_at(i, own) for i in range(3)] == pytest.approx([0.2, 0.2, 0.2])
    both = replace(given, final_exploration=0.1)
    assert [both.exploration_at(i, own) for i in range(3)] == pytest.approx([0.2, 0.15, 0.1])
    with pytest.raises(HoneError, match=r"exploration 0\.2 must not be below final_exploration 0\.3"):
        replace(given, final_exploration=0.3)
