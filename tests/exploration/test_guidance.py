"""Who is guided, what is said, and what the rollout keeps of it."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chat_stub import chat_server, say, send
from scenes import box, brick_and_bin, step, upright
from toy_environment import SPEC, TASKS, ToyConfig, ToyEnvironment

from hone.envs.libero.facts import Facts, Pose
from hone.errors import HoneError
from hone.exploration.geometry import bounds, highest_on_the_way
from hone.exploration.guidance import (
    IN_VAIN,
    Guidance,
    GuidanceConfig,
    build_guidance,
    hint_probability,
    mark_hinted,
    spread,
)
from hone.exploration.hinter import (
    PATIENCE,
    Hinter,
    History,
    RandomHinter,
    RuleHinter,
    approach_of,
    next_step,
    share_of,
)
from hone.exploration.holds import APPROACHES, grip_on, least_rise
from hone.exploration.llm_hinter import LlmHinter
from hone.exploration.phrases import actions_of, check_phrase, phrase_of
from hone.language.llm import Client, LlmConfig
from hone.language.plan import Plan, Refusal, Subgoal
from hone.memory import Attempt, EpisodeMemory
from hone.policies.blackbox import BlackBoxPolicy
from hone.primitives.grasps import opening_yaw
from hone.primitives.places import Share
from hone.training.advantages import group_relative_advantages
from hone.training.records import calls_of
from hone.training.rollout import EpisodeRequest, rollout
from hone.types import Observation, Placement

PLAN = Plan("put it in", (Subgoal("pick", "brick"), Subgoal("place_in", "brick", "bin_inside")), "test")


def touching(facts: Facts) -> Facts:
    """The contacts that the toy scene's step leaves out: fingers that hold the brick touch it."""
    near = np.linalg.norm(facts.objects["brick"].position - facts.eef.position) < 0.03
    held = near and facts.gripper_width_m <= 0.04
    pair = frozenset(("brick", "robot" if held else "bin"))
    return replace(facts, contacts=frozenset({pair}))


def follow(hinter: Hinter, facts: Facts, looks: int) -> tuple[Facts, tuple[str | None, ...]]:
    """Somebody who only does what the words say."""
    history = History(seed=3)
    facts = touching(facts)
    for _ in range(looks):
        hint = hinter(facts, PLAN, history)
        history = replace(history, said=(*history.said, hint))
        if hint is None:
            break
        chunk = actions_of(hint, 8)
        history = replace(history, done=(*history.done, phrase_of(chunk)))
        for action in chunk:
            facts = touching(step(facts, action))
    return facts, history.said


def test_who_does_only_what_the_rule_says_puts_the_brick_into_the_bin():
    facts, said = follow(RuleHinter(8), brick_and_bin(), 40)
    assert facts.satisfied == (True,)
    assert said[-1] is None  # all sub-goals hold: nothing more to say
    assert said[0] == check_phrase(str(said[0]))


def test_random_words_do_not():
    facts, said = follow(RandomHinter(), brick_and_bin(), 40)
    assert facts.satisfied == (False,)
    assert len(set(said)) > 20
    assert follow(RandomHinter(), brick_and_bin(), 40)[1] == said


def test_the_first_hint_points_to_the_brick_and_does_not_come_down_before_it_is_there():
    hint = RuleHinter(8)(brick_and_bin(brick_x=0.2, brick_y=-0.3), PLAN, History(0))
    assert hint is not None
    assert hint.startswith("move far forward, move far left")
    assert hint.endswith("keep the gripper open")


def test_a_low_hand_rises_over_what_is_on_its_way():
    facts = brick_and_bin()
    low = replace(facts, eef=replace(facts.eef, position=np.array([0.0, 0.35, 0.03])))  # beyond the bin
    hint = RuleHinter(8)(low, PLAN, History(0))
    assert hint is not None
    assert "raise far" in hint


def test_failures_bring_other_approaches():
    assert approach_of(History(seed=1)) == "plain"
    assert {approach_of(History(seed, failures=2)) for seed in range(5)} == set(APPROACHES)
    met_nothing, put_down, waiting = (
        "raise far, open the gripper",
        "stay, open the gripper",
        "lower, keep the gripper open",
    )
    assert approach_of(History(seed=1, said=(met_nothing,))) == "right"
    assert approach_of(History(seed=1, said=(met_nothing, put_down))) == "plain", "the next thing is another matter"
    assert approach_of(History(seed=1, said=(waiting,) * (PATIENCE + 1))) == "right"
    assert approach_of(History(seed=1, said=(waiting,) * PATIENCE + (put_down, waiting))) == "plain"
    assert approach_of(History(seed=1, done=(met_nothing,) * 30)) == "plain", "a pupil is told the same every time"


def test_a_solid_wide_thing_is_taken_by_what_the_fingers_fit_around():
    facts = brick_and_bin()
    pot = (box((0.05, 0.05, 0.05), (0, 0, 0.05)), box((0.01, 0.04, 0.02), (0, 0, 0.12)))  # a lid with a ridge on top
    facts = replace(facts, shapes={**facts.shapes, "bin": pot})
    hold = grip_on(facts, "bin", bounds(facts, "bin"), "plain")
    aim, turn = hold.place, hold.turn
    np.testing.assert_allclose(aim[:2], facts.objects["bin"].position[:2])
    assert aim[2] > facts.objects["bin"].position[2] + 0.10
    opening = opening_yaw(facts.eef.rotation) + turn
    assert abs(np.cos(opening)) > 0.7, "across the ridge, which is narrow along x"


def test_a_long_thing_is_taken_nearer_to_an_end_where_something_stands_beside_its_middle():
    facts = brick_and_bin()
    bar = replace(facts, shapes={**facts.shapes, "brick": (box((0.06, 0.02, 0.03)),)})
    middle = bar.objects["brick"].position
    np.testing.assert_allclose(grip_on(bar, "brick", bounds(bar, "brick"), "plain").place[:2], middle[:2])
    post = Pose(middle + np.array([0.0, 0.05, 0.0]), np.eye(3))
    shapes = {**bar.shapes, "post": (box((0.01, 0.01, 0.1)),)}
    beside = replace(bar, objects={**bar.objects, "post": post}, shapes=shapes)
    hold = grip_on(beside, "brick", bounds(beside, "brick"), "plain")
    assert abs(hold.place[0] - middle[0]) == pytest.approx(0.042)


def test_things_that_share_a_surface_stand_side_by_side():
    both = Plan("", (Subgoal("place_on", "a", "stove"), Subgoal("place_on", "b", "stove")), "test")
    assert [share_of(subgoal, both) for subgoal in both.subgoals] == [Share(0, 2), Share(1, 2)]
    assert share_of(both.subgoals[0], Plan("", both.subgoals[:1], "test")) is None
    assert share_of(PLAN.subgoals[1], PLAN) is None, "into a bin one follows the other"


def test_the_hand_is_let_down_as_far_as_it_has_room():
    facts = brick_and_bin()
    free, astride, before = np.array([-0.3, -0.3, 0.03]), np.array([0.0, 0.13, 0.03]), np.array([0.0, 0.08, 0.03])
    assert least_rise(facts, free, without="brick") == 0.0
    assert least_rise(facts, astride, without="brick") == pytest.approx(0.04), "the hand above a side 10 cm high"
    assert least_rise(facts, before, without="brick") == pytest.approx(0.10), "a finger above it"
    assert least_rise(facts, before, without="bin") == 0.0


def test_nothing_is_said_of_a_place_that_is_closed_from_above():
    facts = brick_and_bin()
    lid = upright(0.0, 0.2, 0.2)
    oven = {"fixtures": {"oven": lid}, "shapes": {**facts.shapes, "oven": (box((0.07, 0.07, 0.005)),)}}
    inside = replace(facts.regions["bin_inside"], parent="oven")
    shut = replace(facts, **oven, regions={"bin_inside": inside})
    assert RuleHinter(8)(facts, PLAN, History(0)) is not None
    assert RuleHinter(8)(shut, PLAN, History(0)) is None


def test_a_wide_thing_is_taken_by_its_rim():
    facts = brick_and_bin()
    around = bounds(facts, "bin")
    left = grip_on(facts, "bin", bounds(facts, "bin"), "left").place
    right = grip_on(facts, "bin", bounds(facts, "bin"), "right").place
    assert left[1] == pytest.approx(around.low[1] + 0.004)
    assert right[1] == pytest.approx(around.high[1] - 0.004)
    plain = grip_on(facts, "bin", bounds(facts, "bin"), "plain").place
    np.testing.assert_array_equal(plain, left)
    wall = replace(facts.objects["bin"], position=facts.objects["bin"].position - [0.0, 0.16, 0.0])
    beside = {"objects": {**facts.objects, "wall": wall}, "shapes": {**facts.shapes, "wall": (box((0.02, 0.02, 0.2)),)}}
    other = grip_on(replace(facts, **beside), "bin", bounds(facts, "bin"), "plain").place
    np.testing.assert_array_equal(other, right)  # the hand would come down on the wall
    mirrored = Pose(wall.position * [1.0, -1.0, 1.0] + [0.0, 2 * facts.objects["bin"].position[1], 0.0], wall.rotation)
    both = {
        "objects": {**beside["objects"], "wall": wall, "other_wall": mirrored},
        "shapes": {**beside["shapes"], "other_wall": beside["shapes"]["wall"]},
    }
    hold = grip_on(replace(facts, **both), "bin", bounds(facts, "bin"), "plain")
    between, turn = hold.place, hold.turn
    assert abs(turn) == pytest.approx(np.pi / 6)  # neither side is free: the hand turns
    middle = (around.low + around.high) / 2
    assert np.linalg.norm(between[:2] - middle[:2]) == pytest.approx(right[1] - middle[1])
    brick = grip_on(facts, "brick", bounds(facts, "brick"), "plain").place
    np.testing.assert_allclose(brick[:2], facts.objects["brick"].position[:2])


def test_what_is_in_between_has_to_be_passed_over():
    facts = brick_and_bin()
    over_bin = highest_on_the_way(facts, np.array([0.0, 0.0, 0.0]), np.array([0.0, 0.4, 0.0]))
    assert over_bin == pytest.approx(0.105)
    assert highest_on_the_way(facts, np.array([0.5, 0.0, 0.0]), np.array([0.5, 0.4, 0.0])) == 0.0


def test_there_are_no_words_for_a_drawer():
    drawer = Plan("", (Subgoal("open", "drawer"),), "test")
    facts = brick_and_bin()
    assert next_step(facts, PLAN) == PLAN.subgoals[1]
    with pytest.raises(HoneError):
        next_step(facts, drawer)  # the scene has none


# --------------------------------------------------------------------------------------------- who is guided, and when


def test_hints_become_rarer_with_success():
    assert hint_probability(0.0) == 0.5
    assert hint_probability(1.0, p_max=0.5, decay=2.0) == pytest.approx(0.5 * math.exp(-2))
    with pytest.raises(HoneError, match="p_max"):
        hint_probability(0.5, p_max=1.5)


def requests(count: int, group_size: int = 4) -> list[EpisodeRequest]:
    return [
        EpisodeRequest(i, TASKS[0], Placement("sampled", 0), seed=1000 + i, group=i // group_size, greedy=True)
        for i in range(count)
    ]


def test_a_group_is_guided_whole_or_not_at_all():
    marked = mark_hinted(requests(400), lambda task: 0.3)
    by_group = np.array([request.hinted for request in marked]).reshape(100, 4)
    assert (by_group == by_group[:, :1]).all()
    assert 15 < by_group[:, 0].sum() < 45  # 30 +- 3 standard errors
    assert marked == mark_hinted(requests(400), lambda task: 0.3)
    assert not any(request.hinted for request in mark_hinted(requests(8), lambda task: 0.0))


def test_a_task_is_tried_without_hints_first():
    marked = mark_hinted(requests(40), lambda task: 1.0, lambda task: False)
    by_group = np.array([request.hinted for request in marked]).reshape(10, 4)
    assert by_group.any(1).tolist() == [False] + 9 * [True]
    assert all(request.hinted for request in mark_hinted(requests(40), lambda task: 1.0))


def test_hinted_episodes_begin_at_placements_of_their_own():
    marked = mark_hinted(requests(400), lambda task: 0.3)
    apart = spread(marked, range(1000, 2000))
    assert [(r.hinted, r.seed, r.group) for r in apart] == [(r.hinted, r.seed, r.group) for r in marked]
    assert [r for r in apart if not r.hinted] == [r for r in marked if not r.hinted]
    own = [r.placement.index for r in apart if r.hinted]
    assert all(1000 <= index < 2000 for index in own)
    assert len(set(own)) > 0.9 * len(own) > 20
    assert apart == spread(marked, range(1000, 2000))


def test_why_groups_are_not_mixed():
    """Hints that always help, in a group that shares a baseline, teach that every plain chunk was bad: noise of full
    size where there is nothing to learn. Apart, both groups are dead."""
    rewards = torch.tensor([1.0, 1.0, 0.0, 0.0])
    mixed, alive, _ = group_relative_advantages(rewards, torch.tensor([0, 0, 0, 0]))
    assert alive.all()
    assert mixed.tolist() == pytest.approx([1, 1, -1, -1], abs=1e-4)
    _, alive, _ = group_relative_advantages(rewards, torch.tensor([0, 0, 1, 1]))
    assert not alive.any()


class Stage(ToyEnvironment):
    """The point on a line, with a brick to look at."""

    def facts(self, slots: Sequence[int]) -> list[Any]:
        return [brick_and_bin() for _ in slots]


@dataclass(frozen=True)
class Counting:
    """Says how many hints it gave before."""

    def __call__(self, facts: object, plan: Plan, history: History) -> str | None:
        return None if len(history.said) == 2 else f"hint {len(history.said)}"


def no_plan(instruction: str, facts: object) -> Plan:
    return PLAN


def refuse(instruction: str, facts: object) -> Plan:
    raise Refusal("unparsed", "what?")


def remember(seen: list[Observation]) -> BlackBoxPolicy:
    def act(observation: Observation) -> np.ndarray:
        seen.append(observation)
        chunk = np.zeros((len(observation), 4, 7), np.float32)
        chunk[:, :, 0] = 0.1
        return chunk

    return BlackBoxPolicy(act, 4, SPEC)


def test_hints_reach_the_policy_of_hinted_episodes_alone_and_are_kept_of_all():
    seen: list[Observation] = []
    mixed = [replace(request, hinted=request.episode_id == 1) for request in requests(2)]
    guidance = Guidance(Counting(), planner=no_plan)
    done = {t.request.episode_id: t for t in rollout(Stage(ToyConfig(), 2), remember(seen), mixed, guidance=guidance)}
    assert [observation.hints for observation in seen] == [("", "hint 0"), ("", "hint 1"), ("", "")]
    assert done[0].hints == ("hint 0",) * 3  # nothing was said aloud
    assert done[1].hints == ("hint 0", "hint 1", "")


@dataclass(frozen=True)
class Echo:
    """Says what was done last."""

    def __call__(self, facts: object, plan: Plan, history: History) -> str | None:
        return history.done[-1] if history.done else "nothing yet"


def test_a_guide_sees_what_was_done_also_where_nobody_listens():
    (t,) = rollout(Stage(ToyConfig(), 1), remember([]), requests(1), guidance=Guidance(Echo(), planner=no_plan))
    assert t.hints == ("nothing yet", *["move slightly forward, keep the gripper open"] * 2)


def test_without_guidance_nothing_is_said():
    seen: list[Observation] = []
    list(rollout(Stage(ToyConfig(), 1), remember(seen), [replace(requests(1)[0], hinted=True)]))
    assert all(observation.hints is None for observation in seen)


def test_a_hint_holds_until_it_is_renewed():
    (t,) = rollout(
        Stage(ToyConfig(), 1),
        remember([]),
        [replace(requests(1)[0], hinted=True)],
        guidance=Guidance(Counting(), every=2, planner=no_plan),
    )
    assert t.hints == ("hint 0", "hint 0", "")
    with pytest.raises(HoneError, match="every 0 looks"):
        Guidance(Counting(), every=0)


def test_a_refusal_ends_the_hints_and_not_the_episode():
    hinted = [replace(requests(1)[0], hinted=True)]
    guidance = Guidance(Counting(), planner=refuse)
    (t,) = rollout(Stage(ToyConfig(), 1), remember([]), hinted, guidance=guidance)
    assert t.status == "failure"
    assert t.hints == ("", "", "")


def attempt(success: bool, hint: str = "lower") -> Attempt:
    return Attempt(TASKS[0].suite, TASKS[0].name, "go", success, ("left undone: grip brick",), hint)


def test_other_ways_are_tried_where_hinted_attempts_failed_in_a_row(tmp_path: Path):
    memory = EpisodeMemory(tmp_path / "attempts.jsonl")
    guidance = Guidance(Tell(), planner=no_plan)
    assert not any(guidance.recalling(memory, TASKS[:1]).failures.values())
    memory.add([attempt(False)] * (IN_VAIN - 1) + [attempt(False, hint="")] * 5)
    assert guidance.recalling(memory, TASKS[:1]).failures == {TASKS[0]: IN_VAIN - 1}
    memory.add([attempt(True)])
    assert guidance.recalling(memory, TASKS[:1]).failures == {}
    memory.add([attempt(True, hint="")] + [attempt(False)] * IN_VAIN)  # that one was not the hints' doing
    knowing = guidance.recalling(memory, TASKS[:1])
    assert knowing.failures == {TASKS[0]: IN_VAIN}
    assert replace(guidance, reads_memory=False).recalling(memory, TASKS[:1]).failures == {}
    (t,) = rollout(Stage(ToyConfig(), 1), remember([]), requests(1), guidance=knowing)
    assert t.hints[0] == f"{IN_VAIN} failed after 0 steps, told to 'lower': left undone: grip brick"


@dataclass(frozen=True)
class Tell:
    """Says what it knows of earlier attempts."""

    def __call__(self, facts: object, plan: Plan, history: History) -> str | None:
        return f"{history.failures} {history.attempts[0]}"


def test_guidance_travels_to_workers():
    guidance = Guidance(RuleHinter(8), failures={TASKS[0]: 2})
    assert pickle.loads(pickle.dumps(guidance)) == guidance


# ------------------------------------------------------------------------------------------------------ language model


@pytest.fixture
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def ask(url: str, folder: Path, **more) -> str | None:
    client = Client(LlmConfig("stub", folder / "run", url, backoff_s=0.01, retries=0, **more))
    history = History(0, ("lower, keep the gripper open",), failures=3, attempts=("failed after 9 steps",))
    return LlmHinter(client)(brick_and_bin(), PLAN, history)


@pytest.mark.usefixtures("_own_cache")
def test_a_model_is_shown_the_scene_and_answers_in_clauses(tmp_path: Path):
    clauses = ["move far left", "keep the gripper open"]
    with chat_server(say({"why": "it is there", "clauses": clauses})) as stub:
        assert ask(stub.url, tmp_path) == "move far left, keep the gripper open"
        asked = stub.last_user_message()
    for part in (
        "brick: middle at",
        "place_in brick (target: bin_inside)",
        "- lower, keep the gripper open",
        ": 3",
        "- failed after 9 steps",
    ):
        assert part in asked


@pytest.mark.usefixtures("_own_cache")
def test_a_server_that_dies_is_given_up_once_and_for_all(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    said = say({"why": "", "clauses": ["stay", "keep the gripper open"]})
    mixed = [replace(request, hinted=request.episode_id < 2) for request in requests(3)]
    with chat_server(said, said, send(500, "{}")) as stub:
        config = GuidanceConfig("llm", model="stub", base_url=stub.url, transcript=tmp_path / "run")
        guidance = build_guidance(config, 8)
        assert guidance is not None
        guidance = replace(guidance, planner=no_plan)
        seen = remember([])
        told = {t.request.episode_id: t for t in rollout(Stage(ToyConfig(), 1), seen, mixed, guidance=guidance)}
        assert calls_of(guidance.hinter) == len(stub.requests) == 2 + 2  # the third question is repeated once
    assert guidance.given_up
    assert [told[i].hints for i in range(3)] == [("stay, keep the gripper open",) * 2 + ("",), ("",) * 3, ()]
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [caplog.records[0].message]
    assert "the run goes on without hints" in caplog.text


def test_a_language_model_has_to_be_named():
    with pytest.raises(HoneError, match=r"guidance\.model"):
        GuidanceConfig("llm")


@pytest.mark.usefixtures("_own_cache")
def test_a_model_may_have_nothing_to_say(tmp_path: Path):
    with chat_server(say({"why": "all is well", "clauses": []})) as stub:
        assert ask(stub.url, tmp_path) is None


@pytest.mark.usefixtures("_own_cache")
def test_nonsense_is_sent_back_and_then_given_up(tmp_path: Path):
    good = {"why": "", "clauses": ["stay", "close the gripper"]}
    with chat_server(say({"why": "", "clauses": ["fly", "keep the gripper open"]}), say(good)) as stub:
        assert ask(stub.url, tmp_path) == "stay, close the gripper"
        assert "'fly' is no clause" in stub.last_user_message()
    with chat_server(say({"clauses": "up"})) as stub, pytest.raises(Refusal, match="list of strings"):
        ask(stub.url, tmp_path / "again", tries=2)
