"""What an evaluation found: one row per episode, the card it was done under, and what it cost.

An episode with status "error" is a fault of the machinery: it is counted apart and is neither a success nor a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hone.errors import HoneError
from hone.evaluation.protocol import ProtocolCard, source_commit
from hone.evaluation.run_folder import read_json, write_json
from hone.evaluation.stats import Difference, paired_bootstrap, wilson_interval
from hone.types import Placement, Status


@dataclass(frozen=True)
class EpisodeResult:
    """The outcome of one episode."""

    task: str
    """The task's name."""
    placement: Placement
    status: Status
    held: bool | None
    """Whether the success was still true some steps after release; `None` if that was not looked at."""
    steps: int
    """Control steps taken, the waiting steps not counted."""
    decisions: int
    """Times the policy was asked for a chunk."""
    seed: int
    report: dict[str, Any] | None = None
    """What the policy says of the episode: a planner's refusal, say."""

    @property
    def success(self) -> bool:
        return self.status == "success"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"success": self.success}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EpisodeResult:
        plain = {name: value for name, value in data.items() if name != "success"}
        return cls(**{**plain, "placement": Placement(**data["placement"])})


@dataclass(frozen=True)
class Cost:
    """What a score cost, beside the score."""

    env_steps: int = 0
    decoder_evaluations: int = 0
    """Forward passes of the action decoder, in rows: a batch of 8 counts 8, ten denoising steps count ten."""
    judge_calls: int = 0
    """Calls to a language model or a learned judge."""
    core_seconds: float = 0.0
    """Wall time times the cores it was given."""
    simulator_steps: int = 0
    """Control steps simulated in copies, to look ahead."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.env_steps + other.env_steps,
            self.decoder_evaluations + other.decoder_evaluations,
            self.judge_calls + other.judge_calls,
            self.core_seconds + other.core_seconds,
            self.simulator_steps + other.simulator_steps,
        )


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation: its episodes, its protocol, its cost."""

    episodes: tuple[EpisodeResult, ...]
    protocol: ProtocolCard
    cost: Cost = Cost()
    policy: str = ""
    """Which policy, in a few words."""
    commit: str = "unknown"

    def summary(self) -> dict[str, Any]:
        """The result as one JSON object. `episodes` counts the valid ones; `faults` the others."""
        per_task = {task: _tally(e for e in self.episodes if e.task == task) for task in self.protocol.tasks}
        return {
            **_tally(self.episodes),
            "per_task": per_task,
            "policy": self.policy,
            **self._planning(),
            **_searching([e.report["search"] for e in self.episodes if e.report is not None and "search" in e.report]),
            "cost": asdict(self.cost),
            "commit": self.commit,
            "protocol": self.protocol.to_json(),
            "protocol_hash": self.protocol.hash(),
        }

    def _planning(self) -> dict[str, Any]:
        """What a planning policy says of its episodes, added up; nothing for other policies."""
        reports = [e.report for e in self.episodes if e.report is not None and "refusal" in e.report]
        if not reports:
            return {}
        refusals = Counter(report["refusal"]["message"] for report in reports if report["refusal"] is not None)
        planned = {
            "refusals": dict(refusals),
            "refinements": sum(report["refinements"] for report in reports),
            "interventions": sum(report["interventions"] for report in reports),
            **_safety([report["safety"] for report in reports if "safety" in report]),
        }
        led = [report for report in reports if "weights" in report]
        if not led:
            return planned
        return planned | {
            "weights": dict(Counter(report["weights"] for report in led)),
            "adjusted": sum(report["adjusted"] for report in led),
            "fallbacks": dict(Counter(why for report in led for why in report.get("fallbacks", ()))),
        }

    def save(self, path: Path) -> None:
        rows = [episode.to_json() for episode in self.episodes]
        write_json(path, {"format": 1, **self.summary(), "episode_results": rows})

    @classmethod
    def load(cls, path: Path) -> EvaluationResult:
        """Read what `save` wrote. The summary in the file is for readers of the file; it is computed afresh."""
        data = read_json(path)
        try:
            card = ProtocolCard.from_json(data["protocol"])
            episodes = tuple(EpisodeResult.from_json(row) for row in data["episode_results"])
            result = cls(episodes, card, Cost(**data["cost"]), data["policy"], data["commit"])
        except (KeyError, TypeError) as error:
            raise HoneError(f"{path} is not an evaluation result of this version of Hone ({error}).") from error
        if data["protocol_hash"] != card.hash():
            raise HoneError(f"{path}: the protocol card was changed after the evaluation (its hash does not fit).")
        return result


def paired_difference(before: EvaluationResult, after: EvaluationResult, seed: int = 0) -> Difference:
    """Success after minus before on the same placements, resampled within each task.

    Raises if the two were not done under the same protocol. A pair of which one episode is a fault says nothing about
    the policies and is left out; `Difference.pairs` tells how many remain.
    """
    if differing := before.protocol.differences(after.protocol):
        raise HoneError("these evaluations cannot be compared: they differ in " + "; ".join(differing) + ".")
    first, second = _by_start(before), _by_start(after)
    if first.keys() != second.keys():
        only = sorted(first.keys() ^ second.keys(), key=str)
        raise HoneError(f"these evaluations cannot be paired: {len(only)} starts are in only one, such as {only[0]}.")
    starts = [s for s in first if "error" not in (first[s].status, second[s].status)]
    if not starts:
        raise HoneError("these evaluations have no pair of valid episodes to compare.")
    return paired_bootstrap(
        np.array([first[s].success for s in starts]),
        np.array([second[s].success for s in starts]),
        seed,
        tasks=[start[0] for start in starts],
    )


def new_result(episodes: Iterable[EpisodeResult], protocol: ProtocolCard, cost: Cost, policy: str) -> EvaluationResult:
    """An `EvaluationResult` stamped with the commit of the running code."""
    return EvaluationResult(tuple(episodes), protocol, cost, policy, source_commit())


def _by_start(result: EvaluationResult) -> dict[tuple[str, Placement, int], EpisodeResult]:
    return {(episode.task, episode.placement, episode.seed): episode for episode in result.episodes}


def _searching(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over all episodes: what looking ahead cost and found; nothing where nobody did."""
    if not reports:
        return {}
    solved = [report["solved_at_decision"] for report in reports if report.get("solved_at_decision") is not None]
    return {
        "search": {
            "simulator_steps_per_episode": sum(report["simulator_steps"] for report in reports) / len(reports),
            "simulations": sum(report.get("simulations", 0) for report in reports),
            "solved_in_simulation": len(solved),
            "solved_at_first_decision": solved.count(0),
        }
    }


def _safety(accounts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over all episodes: control steps that safety limits changed, by limit; extremes measured; robots stopped."""
    if not accounts:
        return {}
    kinds, extremes = accounts[0]["limited"], accounts[0]["largest"]
    lowest = [account["lowest_tip_m"] for account in accounts if account["lowest_tip_m"] is not None]
    return {
        "safety": {
            "limited_steps": {kind: sum(account["limited"][kind] for account in accounts) for kind in kinds},
            "largest": {name: max(account["largest"][name] for account in accounts) for name in extremes},
            "lowest_tip_m": min(lowest, default=None),
            "stops": dict(Counter(account["stop"]["limit"] for account in accounts if account["stop"] is not None)),
        }
    }


def _tally(episodes: Iterable[EpisodeResult]) -> dict[str, Any]:
    """Counts and rates; a rate over no episodes is `None`."""
    everything = list(episodes)
    valid = [episode for episode in everything if episode.status != "error"]
    successes = sum(episode.success for episode in valid)
    low, high = wilson_interval(successes, len(valid))
    looked_at = [episode for episode in valid if episode.held is not None]
    return {
        "success_rate": successes / len(valid) if valid else None,
        "successes": successes,
        "episodes": len(valid),
        "low": low,
        "high": high,
        "held_rate": sum(bool(e.held) for e in looked_at) / len(looked_at) if looked_at else None,
        "faults": len(everything) - len(valid),
    }
