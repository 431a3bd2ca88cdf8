"""The picture of a tree, and a search's part of the page."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from synthetic_run import make_card

from hone.evaluation.report import write_report
from hone.evaluation.results import Cost, EpisodeResult, EvaluationResult
from hone.evaluation.search_section import search_content, tree_svg
from hone.planning.mcts import MctsConfig, Nodes, Outcome, Tree, search
from hone.planning.pictures import MOST_NODES, tree_picture_data
from hone.types import Placement

TASK = "pick_up_the_alphabet_soup_and_place_it_in_the_basket"


def grown(simulations: int) -> Tree:
    """Three actions; only "0, then 1" ends well."""

    def world(rows, states, actions) -> Outcome:
        reached = [f"{state}{action}" for state, action in zip(states, actions, strict=True)]
        good = np.array([state == "01" for state in reached])
        ended = np.array([len(state) >= 8 for state in reached]) | good
        n = len(reached)
        finish = np.where(good, 0.0, np.inf)
        nodes = Nodes(reached, np.full((n, 3), 1 / 3), np.where(good, 1.0, 0.3 * ~ended), finish)
        return Outcome(np.full(n, 8), ended, nodes)

    tree = Tree(1, 3)
    tree.plant(np.array([0]), Nodes([""], np.full((1, 3), 1 / 3), np.array([0.3]), np.array([np.inf])))
    search(tree, [0], world, MctsConfig(simulations=simulations, wave=1))
    return tree


def test_a_picture_has_every_node_and_the_line_that_was_taken():
    tree = grown(40)
    node, _ = tree.solution(0)
    picture = tree_picture_data(tree, 0, tree.path(0, node))
    assert picture["size"] == len(picture["nodes"]) == tree.size[0]
    taken = [n for n in picture["nodes"] if n["line"]]
    assert [n["action"] for n in taken[1:]] == [0, 1]
    assert taken[-1]["solved"]
    assert taken[-1]["mean"] == round(0.995**8, 4)
    svg = tree_svg(picture["nodes"])
    assert svg.count("<circle") + svg.count("<path") == picture["size"]
    assert svg.count("<path") == 1
    assert svg.count('class="after taken') == 2
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', svg)]
    assert min(heights) == heights[0]


def test_a_large_tree_is_cut_to_its_most_visited_nodes():
    tree = Tree(1, 3)
    tree.plant(np.array([0]), Nodes([0], np.full((1, 3), 1 / 3), np.zeros(1), np.array([np.inf])))

    def world(rows, states, actions) -> Outcome:
        n = len(rows)
        nodes = Nodes([0] * n, np.full((n, 3), 1 / 3), np.full(n, 0.5), np.full(n, np.inf))
        return Outcome(np.ones(n, np.int64), np.zeros(n, bool), nodes)

    search(tree, [0], world, MctsConfig(simulations=300, wave=1))
    picture = tree_picture_data(tree, 0, [])
    assert picture["size"] == 301
    assert len(picture["nodes"]) <= MOST_NODES
    for index, node in enumerate(picture["nodes"]):
        assert index == 0 or node["parent"] < index


def evaluation() -> EvaluationResult:
    tree = grown(40)
    report = {
        "simulator_steps": 320,
        "simulations": 40,
        "solved_at_decision": 0,
        "tree": tree_picture_data(tree, 0, tree.path(0, tree.solution(0)[0])),
    }
    episodes = (
        EpisodeResult(TASK, Placement("sampled", 0), "success", True, 90, 12, 0, {"search": report}),
        EpisodeResult(TASK, Placement("sampled", 1), "failure", False, 280, 35, 0, {"search": report | {"tree": None}}),
    )
    card = replace(make_card(), tasks=(TASK,), planner="vlaps; tries chunks in a copy of the simulator")
    return EvaluationResult(episodes, card, Cost(370, 47, 0, 1.0, 640), "small")


def test_a_result_says_what_looking_ahead_cost():
    summary = evaluation().summary()
    assert summary["search"]["simulator_steps_per_episode"] == 320
    assert summary["search"]["solved_in_simulation"] == 2
    assert summary["cost"]["simulator_steps"] == 640
    assert "refusals" not in summary


def test_the_page_of_an_evaluation_shows_the_tree(tmp_path):
    result = evaluation()
    assert search_content(result).count("<svg") == 1
    result.save(tmp_path / "found.json")
    page = write_report(tmp_path / "found.json").read_text(encoding="utf-8")
    assert "Looking ahead" in page
    assert "copy of the simulator" in page
    without = replace(result, episodes=tuple(replace(e, report=None) for e in result.episodes))
    assert search_content(without) == ""


def test_a_card_without_a_planner_keeps_its_hash():
    assert "planner" not in make_card().to_json()
    assert replace(make_card(), planner="vlaps").hash() != make_card().hash()
