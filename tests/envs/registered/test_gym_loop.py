"""The verbs of the command line in a gymnasium environment that Hone has never heard of."""

from __future__ import annotations

import json

import pytest
from point_env import ENV_ID

from hone import cli
from hone.data.episodes import read_episodes
from hone.evaluation.results import EvaluationResult

DECLARED = ("--env.proprio", "agent_pos", "--env.state", "goal", "--env.instruction-key", "said")
ENV = ("--env", f"gym:{ENV_ID}", *DECLARED)
POINT = (*ENV, "--env.expert", "point_env:expert")
SMALL = ("--network.inputs", "state", "--network.chunk-length", "4")


def hone(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demos") / "point"
    assert hone("demos", *POINT, "--per-task", 12, "--output", folder, "--manner.noise", 0.2) == 0
    return folder


def test_demonstrations_are_in_the_policys_range(demos):
    episodes = read_episodes(demos)
    assert len(episodes) == 12
    assert all(abs(episode.actions).max() == pytest.approx(1.0) for episode in episodes)
    assert any((episode.actions != episode.executed).any() for episode in episodes)
    assert {episode.instruction for episode in episodes} <= {"go left", "go right"}


def test_clone_and_evaluate(demos, tmp_path, capsys):
    policy, result = tmp_path / "policy", tmp_path / "result.json"
    assert hone("clone", "--demos", demos, "--output", policy, "--training.steps", 300, *SMALL) == 0
    run = ("eval", *ENV, "--policy", policy, "--placements", 8, "--workers", 1, "--output", result, "--json")
    kept = tmp_path / "kept"
    assert hone(*run, "--record", kept, "--record-placements", 1) == 0
    (episode,) = read_episodes(kept, status=None)
    assert episode.images is not None
    assert episode.state is not None
    assert episode.images.shape == (len(episode), 1, 84, 84, 3)  # it draws itself, although the policy does not look
    assert episode.state.shape == (len(episode), 1, 2)
    found = EvaluationResult.load(result)
    assert found.protocol.privilege == "the simulator's state (vector2: goal)"
    assert found.protocol.success_rule == "info:is_success at any control step"
    summary = json.loads(capsys.readouterr().out)
    assert summary["held_rate"] is None
    assert summary["successes"] >= 5  # of 8
    assert hone("eval", "--policy", policy, "--placements", 1) == 2
    assert "policy and environment disagree on action_dim" in capsys.readouterr().err


def test_the_whole_loop(tmp_path, capsys):
    run = tmp_path / "run"
    sizes = ("--iterations", 2, "--groups", 2, "--group-size", 4, "--curve-placements", 2, "--final-placements", 3)
    few = ("--demos", 1, "--clone.steps", 20, "--probe-placements", 1, "--evaluate-every", 2, "--workers", 0)
    wide = ("--exploration", 0.5, "--final-exploration", 0.5, "--train-step-cap", 20)
    assert hone("improve", *POINT, *SMALL, *sizes, *few, *wide, "--output", run, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["rollouts"] == 16
    assert summary["protocol"]["suite"] == "gym-point-env-test-Point-v0"
    assert len(list((run / "videos").glob("*.mp4"))) == 2
    page = (run / "report.html").read_text()
    assert "Point-v0" in page
    assert "LIBERO" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("improve", *POINT, "--reward", "synthesized"), "--reward synthesized needs the facts of a scene"),
        (("improve", *POINT, "--guidance.hinter", "rules"), "--guidance.hinter rules needs the facts of a scene"),
        (("eval", *ENV, "--policy", "skills"), "this policy needs the facts of a scene"),
        (("demos", *ENV, "--output", "x"), "declares no expert"),
        (("demos", *POINT, "--manner.longest-rest", "5", "--output", "x"), "only LIBERO's expert knows how to rest"),
        (("report", "x", *ENV), "`hone report` runs in no environment"),
    ],
)
def test_what_a_gymnasium_environment_cannot_do_is_said_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert hone(*arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x").exists()
