"""Rewards written from language: instruction, plan, program, score. Adapts its weights, and lets a judge rewrite it.

    R(tau) = (1 - terminal) sum_k w_k Delta_k(tau) + terminal 1[the program's own detector claims success]

Agentic-VLA (arXiv:2605.22896) eq. 4 is the first term. Its weights vanish once all is mastered, and with them every
difference between episodes; the second term keeps success worth more than any way of failing. The simulator's success
flag is never read, and must not end the episodes either (`stop_at_success=False`): LIBERO's check may be true of a
thing that is still in the hand, and what the program waits for would be cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.language.grammar import decompose
from hone.language.plan import Decomposer, Plan
from hone.primitives.expert import goal_plan
from hone.rewards.base import WitnessedTrajectory
from hone.rewards.detectors import DetectorConfig
from hone.rewards.judge import Judge, build_judge
from hone.rewards.planned import from_plan
from hone.rewards.program import RewardProgram
from hone.rewards.revision import Evidence, Revision, revise
from hone.rewards.scoring import Scored, Weights, score_sightings
from hone.rewards.summary import summarise
from hone.rewards.weights import Weighting, carried_over, milestone_weights, updated_competence
from hone.types import Task

NOTHING_EARLIER: Mapping[Task, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True)
class SynthesisConfig:
    """How rewards are written from language."""

    planner: Literal["grammar", "goal"] = "grammar"
    """Who finds the sub-goals: a grammar that reads the instruction, or the simulator's own goal (an oracle, as a
    control)."""
    weights: Weighting = "adaptive"
    """`adaptive` as in the paper; `uniform` and `fixed` (the program's own) are controls."""
    alpha: float = 0.9
    """Memory of the milestones' running success."""
    floor: float = 0.1
    """Least weight of a mastered milestone, before normalisation."""
    terminal: float = 0.5
    """Share of the reward that only success gives."""
    judge: Literal["none", "rules", "llm"] = "none"
    """Who reviews the programs and may rewrite them."""
    judge_every: int = 5
    """Rounds between two reviews."""
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    """Who says what was reached; the defective ones are for ablations."""
    model: str = ""
    """The judge's language model, as its server knows it."""
    base_url: str = "http://localhost:8000/v1"
    """Address of the OpenAI-compatible server; its key is read from $HONE_LLM_KEY."""
    transcript: Path = Path("runs/llm")
    """Folder of the judge's questions and answers; the budget of calls holds for it."""

    def __post_init__(self) -> None:
        for name in ("alpha", "floor", "terminal"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise HoneError(f"synthesis.{name} is {getattr(self, name)}; expected 0 to 1.")
        if self.weights == "adaptive" and self.floor == 0.0:
            raise HoneError("synthesis.floor is 0, so the weights of a mastered task would all vanish; use e.g. 0.1.")
        if self.judge_every < 1:
            raise HoneError(f"synthesis.judge_every is {self.judge_every}; expected at least 1 round.")
        if self.judge == "llm" and not self.model:
            raise HoneError("judge 'llm' needs the name of a model (synthesis.model), and a server that offers it.")


@dataclass(frozen=True)
class Verdict:
    """What the reward made of one episode: the number it gave, and whether it takes it for a success.

    `collected [L]`: how much of the reward there was by each look. It never falls, and ends at `reward`.
    """

    reward: float
    scored: Scored
    collected: Float64[np.ndarray, " L"]

    @property
    def succeeded(self) -> bool:
        return self.scored.succeeded


@runtime_checkable
class AdaptiveReward(Protocol):
    """A reward that needs the facts of every look, and changes from round to round."""

    programs: dict[Task, RewardProgram]
    planner: Decomposer

    def judge_all(self, trajectories: Sequence[WitnessedTrajectory]) -> list[Verdict]: ...

    def update(
        self,
        trajectories: Sequence[WitnessedTrajectory],
        verdicts: Sequence[Verdict],
        earlier: Mapping[Task, Sequence[str]] = NOTHING_EARLIER,
    ) -> list[Revision]: ...

    def remember_successes(self, task: Task, episodes: Sequence[Sequence[Facts]]) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class SynthesizedReward:
    """One reward program per task, made from its instruction at the first episode of it that is seen."""

    def __init__(
        self, config: SynthesisConfig | None = None, planner: Decomposer | None = None, judge: Judge | None = None
    ) -> None:
        """`planner`, `judge`: in place of the config's."""
        self.config = config or SynthesisConfig()
        self.planner: Decomposer = planner or {"grammar": decompose, "goal": oracle}[self.config.planner]
        self._judge = judge or build_judge(
            self.config.judge, self.config.model, self.config.base_url, self.config.transcript
        )
        self._detector = self.config.detector.build()
        self._rounds = 0
        self.programs: dict[Task, RewardProgram] = {}
        self._competence: dict[Task, Weights] = {}
        self._known_good: dict[Task, tuple[tuple[Facts, ...], ...]] = {}

    @property
    def calls(self) -> int:
        """Requests that the judge has sent to a language model; rules send none."""
        return getattr(self._judge, "calls", 0)

    def __call__(self, trajectories: Sequence[WitnessedTrajectory]) -> Float32[np.ndarray, " N"]:
        return np.array([verdict.reward for verdict in self.judge_all(trajectories)], np.float32)

    def judge_all(self, trajectories: Sequence[WitnessedTrajectory]) -> list[Verdict]:
        """Scores under the weights of this round; nothing changes before `update`."""
        verdicts = []
        for trajectory in trajectories:
            if trajectory.status == "error":
                raise ValueError("a trajectory ended in a fault of the machinery; drop and count it before scoring")
            program = self.program(trajectory.request.task, trajectory.facts[0])
            scored = score_sightings(program, self._detector(program, trajectory))
            terminal = self.config.terminal
            collected = (1.0 - terminal) * scored.collected(self.weights(trajectory.request.task))
            if scored.succeeded_at is not None:
                collected[scored.succeeded_at :] += terminal
            verdicts.append(Verdict(float(collected[-1]), scored, collected))
        return verdicts

    def update(
        self,
        trajectories: Sequence[WitnessedTrajectory],
        verdicts: Sequence[Verdict],
        earlier: Mapping[Task, Sequence[str]] = NOTHING_EARLIER,
    ) -> list[Revision]:
        """After a round and what `judge_all` said of it: new weights, and the rewrites that the judge proposed, those
        refused included. The judge is also told the attempts of `earlier` rounds in words."""
        revisions: list[Revision] = []
        self._rounds += 1
        for task in sorted({trajectory.request.task for trajectory in trajectories}):
            rows = [row for row, trajectory in enumerate(trajectories) if trajectory.request.task == task]
            scored = [verdicts[row].scored for row in rows]
            self._competence[task] = updated_competence(self._competence[task], scored, self.config.alpha)
            if self._judge is not None and self._rounds % self.config.judge_every == 0:
                facts = [trajectories[row].facts for row in rows]
                revisions += self._review(task, facts, scored, earlier.get(task, ()))
        return revisions

    def remember_successes(self, task: Task, episodes: Sequence[Sequence[Facts]]) -> None:
        """Facts of demonstrations, at every look: a rewrite of the task's program has to rise along them."""
        self._known_good[task] = tuple(tuple(episode) for episode in episodes)

    def program(self, task: Task, facts: Facts) -> RewardProgram:
        """The task's program; made from the plan on first use. `Refusal` where the planner cannot read the task."""
        if task not in self.programs:
            self.programs[task] = from_plan(self.planner(task.instruction, facts), facts)
            self._competence[task] = np.zeros(len(self.programs[task]))
        return self.programs[task]

    def weights(self, task: Task) -> Weights:
        """The weights of this round; they sum to one."""
        return milestone_weights(self.programs[task], self._competence[task], self.config.weights, self.config.floor)

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON: what a resumed run needs. Known successes are not in it; pass them again."""
        tasks = [
            {"task": asdict(task), "program": program.to_json(), "competence": self._competence[task].tolist()}
            for task, program in self.programs.items()
        ]
        return {"rounds": self._rounds, "tasks": tasks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse. `HoneError` where a program is damaged."""
        self._rounds, self.programs, self._competence = int(state["rounds"]), {}, {}
        for kept in state["tasks"]:
            task, program = Task(**kept["task"]), RewardProgram.from_json(kept["program"])
            if len(program) != len(kept["competence"]):
                raise HoneError(f"the checkpoint's program of '{task.name}' does not fit its weights; start anew.")
            self.programs[task], self._competence[task] = program, np.array(kept["competence"], np.float64)

    def _review(
        self, task: Task, facts: Sequence[tuple[Facts, ...]], scored: Sequence[Scored], earlier: Sequence[str]
    ) -> list[Revision]:
        assert self._judge is not None
        program, competence = self.programs[task], self._competence[task]
        good = self._known_good.get(task, ())
        summary = summarise(program, facts, scored, self.weights(task), good, earlier)
        claimed = [episode for episode, one in zip(facts, scored, strict=True) if one.succeeded]
        failed = [episode for episode, one in zip(facts, scored, strict=True) if not one.succeeded]
        evidence = Evidence(facts[0][0], (*good, *claimed), tuple(failed))
        revision = revise(f"{task.suite}/{task.name}", program, self._judge, summary, evidence)
        if revision is None:
            return []
        if revision.accepted is not None:
            self.programs[task] = revision.accepted
            self._competence[task] = carried_over(program, competence, revision.accepted)
        return [revision]


def oracle(instruction: str, facts: Facts) -> Plan:
    """The simulator's own goal as the plan, whatever the instruction says."""
    return replace(goal_plan(facts), instruction=instruction)
