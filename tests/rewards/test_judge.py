from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_stub import Stub, chat_server, say, send
from scenes import brick_and_bin
from test_scene_words import furnished
from witnessed import PLAN, TASK, Witnessed, expert_episode, planner, practised

from hone.envs.libero.facts import Facts, Pose
from hone.language.llm import Client, LlmConfig
from hone.rewards import SynthesisConfig, SynthesizedReward
from hone.rewards.judge import Judge, RuleJudge, build_judge
from hone.rewards.llm_judge import LlmJudge, rewrite_schema
from hone.rewards.planned import from_plan
from hone.rewards.predicates import DISTANCES, PREDICATES
from hone.rewards.program import RewardProgram
from hone.rewards.scoring import score
from hone.rewards.summary import Summary, summarise

GOOD, BAD = expert_episode(), expert_episode(slippery=True)
PROGRAM = from_plan(PLAN, GOOD[0])


def summary(*episodes: tuple[Facts, ...], good: tuple[tuple[Facts, ...], ...] = ()) -> Summary:
    scored = [score(PROGRAM, episode) for episode in episodes]
    return summarise(PROGRAM, episodes, scored, np.full(6, 1 / 6), good)


def test_the_summary_counts_and_says_it_in_words():
    told = summary(GOOD, BAD, BAD, BAD)
    assert (told.episodes, told.claimed) == (4, 1)
    assert told.rates == (1.0, 0.25, 0.25, 0.25, 0.25, 0.25)
    assert told.stops == (0, 3, 0, 0, 0, 0)
    words = told.words()
    assert "4 episodes, of which the program (version 1) takes 1 for successes" in words
    assert "2. grip brick [step 0, weight 1]: gripped(brick); progress fingers_to(brick) | reached 25 %" in words
    assert "An episode that stopped before 'grip brick'" in words


def test_earlier_attempts_reach_the_judge():
    heard = []

    class Listener:
        source = "listener"

        def __call__(self, summary: Summary) -> None:
            heard.append(summary.words())

    judged = SynthesizedReward(SynthesisConfig(judge_every=1), planner, Listener())
    judged.update([Witnessed(BAD)], judged.judge_all([Witnessed(BAD)]), {TASK: ("failed after 9 steps: dropped it",)})
    practised(judged, [Witnessed(BAD)])
    assert "Attempts of earlier rounds, newest first:\n- failed after 9 steps: dropped it" in heard[0]
    assert "earlier rounds" not in heard[1]


def test_the_summary_does_not_tell_the_goal():
    blind = tuple(replace(facts, goal=(("on", "x", "y"),), satisfied=(True,), task_name="other") for facts in BAD)
    assert summary(blind).words() == summary(BAD).words()


def test_rules_take_the_grasp_point_from_demonstrations():
    proposed = RuleJudge()(summary(BAD, BAD, good=(GOOD,)))
    assert proposed is not None
    reach = proposed.milestones[0]
    assert reach.done[0].name == "hand_at"
    assert reach.done[0].args["z_m"] == pytest.approx(0.012, abs=0.015)
    assert score(proposed, GOOD).reached[0] is not None
    assert proposed.milestones[1:] == PROGRAM.milestones[1:]


def test_rules_without_demonstrations_ask_to_come_nearer_once():
    proposed = RuleJudge()(summary(BAD, BAD))
    assert proposed is not None
    assert proposed.milestones[0].done[0].args == {"what": "brick", "within_m": 0.015}
    scored = [score(proposed, BAD)] * 2
    again = RuleJudge()(summarise(proposed, [BAD] * 2, scored, np.full(6, 1 / 6)))
    assert again is not None
    assert again.milestones[0] == proposed.milestones[0]
    assert again.milestones[1].weight == 2.0


def test_rules_add_raising_where_the_thing_meets_the_wall():
    held = [f for f in GOOD if frozenset(("brick", "robot")) in f.contacts]
    at_wall = Pose(np.array([0.0, 0.12, 0.08]), np.eye(3))
    contacts = frozenset({frozenset(("brick", "robot")), frozenset(("brick", "bin"))})
    stuck = (*GOOD[:6], replace(held[0], objects={**held[0].objects, "brick": at_wall}, contacts=contacts))
    proposed = RuleJudge()(summary(stuck, stuck))
    assert proposed is not None
    names = [milestone.name for milestone in proposed.milestones]
    assert names[3:5] == ["raise brick above bin_inside", "carry brick over bin_inside"]
    assert score(proposed, GOOD).total == 1.0


def test_rules_leave_well_alone():
    assert RuleJudge()(summary(GOOD, GOOD)) is None


def test_rules_through_the_reward():
    judged = SynthesizedReward(SynthesisConfig(judge="rules", judge_every=1), planner)
    judged.remember_successes(TASK, [GOOD])
    (revision,) = practised(judged, [Witnessed(BAD)] * 4)
    assert revision.accepted is not None
    assert "hand_at(brick" in revision.diff
    assert judged([Witnessed(GOOD)]).tolist() == [1.0]


# ------------------------------------------------------------------------------------------------------- language model


@pytest.fixture
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def llm(stub: Stub, folder: Path) -> LlmJudge:
    judge = LlmJudge(Client(LlmConfig("stub", folder / "run", stub.url, backoff_s=0.01, retries=1)))
    assert isinstance(judge, Judge)
    return judge


KEEP = {"explanation": "it learns", "rewrite": False, "milestones": []}


def answer(program: RewardProgram) -> dict[str, Any]:
    return {"explanation": "heavier", "rewrite": True, "milestones": program.to_json()["milestones"]}


def heavier() -> RewardProgram:
    first, *rest = PROGRAM.milestones
    return replace(PROGRAM, milestones=(replace(first, weight=3.0), *rest))


@pytest.mark.usefixtures("_own_cache")
def test_a_model_may_keep_or_rewrite(tmp_path: Path):
    with chat_server(say(KEEP), say(answer(heavier()))) as stub:
        judge = llm(stub, tmp_path)
        assert judge(summary(BAD)) is None
        assert "stopped before 'grip brick'" in stub.last_user_message()
        assert "- gripped(thing): The fingers hold `thing`" in stub.last_user_message()
        proposed = judge(summary(BAD, GOOD))
        assert proposed is not None
        assert SynthesizedReward(judge=judge).calls == len(stub.requests) == 2
        assert (proposed.version, proposed.source, proposed.milestones[0].weight) == (2, "llm:stub", 3.0)


@pytest.mark.usefixtures("_own_cache")
def test_a_model_is_told_what_is_wrong(tmp_path: Path):
    wrong = answer(heavier())
    wrong["milestones"][1]["done"] = [{"name": "gripped", "args": {"thing": "mug"}}]
    with chat_server(say(wrong), say(answer(heavier()))) as stub:
        assert llm(stub, tmp_path)(summary(BAD)) is not None
        assert "thing 'mug'; expected an object: bin, brick" in stub.last_user_message()


@pytest.mark.usefixtures("_own_cache")
@pytest.mark.parametrize("move", [say("I would rather not say."), say({"rewrite": "perhaps"}), send(500, "{}")])
def test_nonsense_and_dead_servers_leave_the_program(move, tmp_path: Path, caplog):
    with chat_server(move) as stub:
        judged = SynthesizedReward(SynthesisConfig(judge_every=1), planner, llm(stub, tmp_path))
        program = judged.program(TASK, GOOD[0])
        with caplog.at_level(logging.WARNING):
            (revision,) = practised(judged, [Witnessed(BAD)])
    assert revision.accepted is None
    assert judged.programs[TASK] == program
    assert "program version 1 stays" in caplog.text
    assert judged([Witnessed(GOOD)]).tolist() == [1.0]


@pytest.mark.usefixtures("_own_cache")
def test_a_model_that_rewards_idling_is_refused(tmp_path: Path):
    lazy = answer(heavier())
    lazy["milestones"] = [
        {
            "name": "stay",
            "done": [{"name": "released", "args": {"thing": "brick"}}],
            "progress": None,
            "step": 0,
            "lasting": True,
            "weight": 1.0,
        }
    ]
    with chat_server(say(lazy)) as stub:
        judged = SynthesizedReward(SynthesisConfig(judge_every=1), planner, llm(stub, tmp_path))
        judged.remember_successes(TASK, [GOOD])
        (revision,) = practised(judged, [Witnessed(BAD)])
    assert revision.accepted is None
    assert any("doing nothing earns 1.00 and is taken for success" in reason for reason in revision.reasons)


def test_the_schema_offers_only_what_the_scene_has():
    def words(facts: Facts, where: str) -> set[str]:
        milestone = rewrite_schema(facts)["properties"]["milestones"]["items"]["properties"]
        terms = milestone["done"]["items"]["anyOf"] if where == "done" else milestone["progress"]["anyOf"]
        return {term["properties"]["name"]["enum"][0] for term in terms if "properties" in term}

    assert "opened" not in words(brick_and_bin(), "done")
    assert words(furnished(), "done") == set(PREDICATES)
    assert words(furnished(), "progress") == set(DISTANCES)


def test_judges_by_name(tmp_path: Path):
    assert build_judge("none", "", "", tmp_path) is None
    assert isinstance(build_judge("rules", "", "", tmp_path), RuleJudge)
    built = build_judge("llm", "tiny", "http://localhost:9/v1", tmp_path)
    assert built is not None
    assert built.source == "llm:tiny"
