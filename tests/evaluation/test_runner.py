"""What an evaluation adds up of its episodes' own reports."""

from __future__ import annotations

from typing import Any

import numpy as np
from synthetic_run import make_card

from hone.envs.libero.suites import task
from hone.evaluation.runner import Setup, evaluate
from hone.training.rollout import Trajectory
from hone.training.workers import RolloutPool


def report(calls: int, adjusted: int, *fallbacks: str) -> dict[str, Any]:
    said = {"plan": "grammar", "refusal": None, "refinements": 1, "interventions": 0, "model_calls": calls}
    return {**said, "weights": "llm:m", "adjusted": adjusted, "fallbacks": list(fallbacks), "movements": []}


class Pool(RolloutPool):
    """Returns one finished episode per report."""

    def __init__(self, *reports: dict[str, Any] | None) -> None:
        self.num_workers, self._reports = 0, reports

    def collect(self, requests, **options):
        pairs = zip(requests, self._reports, strict=True)
        return [Trajectory(request, "success", 5, np.ones(5, int), report=said) for request, said in pairs]


def test_questions_to_a_model_are_costs_and_its_failures_are_told():
    setup = Setup((task("libero_goal", 8),), "sampled", (0, 1, 2))
    pool = Pool(report(3, 2, "late"), report(4, 0, "late", "declined"), None)
    result = evaluate(pool, None, setup, lambda setup: make_card(), hold=False)
    assert result.cost.judge_calls == 7
    summary = result.summary()
    assert summary["adjusted"] == 2
    assert summary["refinements"] == 2
    assert summary["weights"] == {"llm:m": 2}
    assert summary["fallbacks"] == {"late": 2, "declined": 1}


def test_a_decoder_that_counts_its_evaluations_is_believed_and_others_have_one_a_decision():
    setup = Setup((task("libero_goal", 8),), "sampled", (0, 1))
    pool = Pool({"decisions": 5, "decoder_evaluations": 42}, None)
    result = evaluate(pool, None, setup, lambda setup: make_card(), hold=False)
    assert result.cost.decoder_evaluations == 42 + 5
    assert "refusals" not in result.summary()  # it does not plan
