import json
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_run import TASKS, make_card, make_result

from hone.errors import HoneError
from hone.evaluation.results import Cost, EvaluationResult, paired_difference


def test_summary_counts_faults_apart() -> None:
    summary = make_result((0.5, 0.5, 1.0), seed=0, faults=3).summary()
    assert (summary["successes"], summary["episodes"], summary["faults"]) == (25 + 25 + 47, 147, 3)
    assert summary["success_rate"] == pytest.approx(97 / 147)
    assert summary["low"] < summary["success_rate"] < summary["high"]
    last = summary["per_task"][TASKS[-1]]
    assert (last["successes"], last["episodes"], last["faults"], last["success_rate"]) == (47, 47, 3, 1.0)
    assert list(summary["per_task"]) == list(TASKS)
    assert summary["protocol_hash"] == make_card().hash()


def test_summary_of_only_faults_knows_nothing() -> None:
    result = make_result((1.0, 1.0, 1.0), seed=0)
    broken = replace(result, episodes=tuple(replace(e, status="error") for e in result.episodes))
    summary = broken.summary()
    assert (summary["success_rate"], summary["low"], summary["high"], summary["faults"]) == (None, 0.0, 1.0, 150)


def test_held_rate_is_over_all_valid_episodes() -> None:
    result = make_result((0.5, 0.5, 1.0), seed=0)
    held = sum(bool(e.held) for e in result.episodes)
    assert result.summary()["held_rate"] == pytest.approx(held / 150)
    unknown = replace(result, episodes=tuple(replace(e, held=None) for e in result.episodes))
    assert unknown.summary()["held_rate"] is None


def test_result_survives_the_disk(tmp_path: Path) -> None:
    result = make_result((0.5, 0.2, 1.0), seed=0, faults=2)
    result.save(tmp_path / "deep" / "result.json")
    assert EvaluationResult.load(tmp_path / "deep" / "result.json") == result
    assert json.loads((tmp_path / "deep" / "result.json").read_text())["successes"] == result.summary()["successes"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["result.json"]  # no temporary file stays behind


def test_a_changed_protocol_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    make_result((0.5, 0.2, 1.0), seed=0).save(path)
    data = json.loads(path.read_text())
    data["protocol"]["step_cap"] = 1000
    path.write_text(json.dumps(data))
    with pytest.raises(HoneError, match="hash does not fit"):
        EvaluationResult.load(path)


@pytest.mark.parametrize("content", ["{", "{}", '{"protocol": {"suit": 1}}'])
def test_a_file_that_is_no_result_is_a_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(HoneError, match="result"):
        EvaluationResult.load(tmp_path / "result.json")


def test_difference_is_over_the_same_starts_whatever_their_order() -> None:
    before, after = make_result((0.5, 0.5, 0.5), seed=1), make_result((0.9, 0.7, 0.5), seed=2)
    difference = paired_difference(before, after)
    assert difference.mean == pytest.approx(0.2)
    assert difference.pairs == 150
    assert paired_difference(before, replace(after, episodes=after.episodes[::-1])) == difference


def test_a_pair_with_a_fault_is_left_out() -> None:
    before, after = make_result((0.5, 0.5, 0.5), seed=1, faults=4), make_result((0.9, 0.7, 0.5), seed=2)
    assert paired_difference(before, after).pairs == 146


def test_unlike_evaluations_are_not_compared() -> None:
    before = make_result((0.5, 0.5, 0.5), seed=1)
    with pytest.raises(HoneError, match="step_cap: 280 and 400"):
        paired_difference(before, replace(before, protocol=make_card(step_cap=400)))
    with pytest.raises(HoneError, match="1 starts are in only one"):
        paired_difference(before, replace(before, episodes=before.episodes[1:]))


def test_costs_add_up() -> None:
    assert Cost(1, 2, 3, 4.0) + Cost(10, 20, 30, 40.0) == Cost(11, 22, 33, 44.0)
