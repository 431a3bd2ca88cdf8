"""Plans and movements as a policy: `hone eval --policy skills` and `--policy lmp`. No demonstrations, no pictures.

It is told the instruction and reads the facts of the scene, which is privileged. A planner turns the instruction into
sub-goals once, at the first look; movements carry them out, one control step per decision. Sub-goals that do not hold
at the end are tried again, `refinements` times at most. Where the planner refuses, the robot does not move. Every
motion goes through the safety limits (`primitives/safety.py`); a robot that they stopped keeps its hand as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from hone.envs.libero.facts import Facts
from hone.errors import HoneError, unknown_name
from hone.language.plan import Decomposer, Plan, Refusal, check_grounded, check_reachable
from hone.policies.base import Candidate, Candidates, Features, LogProb, NoLikelihoodError, PolicyState
from hone.primitives.conditions import reached
from hone.primitives.expert import Expert, goal_plan
from hone.primitives.motions import LmpMotions, Motions, TypedSkills
from hone.primitives.safety import Guard, SafetyLimits
from hone.specs import Spec
from hone.types import Observation

log = logging.getLogger(__name__)

REST = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
SCRIPTED: dict[str, type[Motions]] = {"skills": TypedSkills, "lmp": LmpMotions}
"""Policies by the form of their movements: typed skills, or language movement primitives for taking and bringing."""
Planner = Literal["grammar", "llm", "goal"]


@dataclass(frozen=True)
class Planning:
    """How a scripted policy comes to its plan, and what it does when one fails."""

    planner: Planner = "grammar"
    """`grammar` reads the instruction, and so does `llm`, a language model; `goal` is told the simulator's own goal (an
    upper bound, and an ablation)."""
    model: str = ""
    """The language model's name, as its server knows it."""
    base_url: str = "http://localhost:8000/v1"
    """Address of the OpenAI-compatible server; its key is read from $HONE_LLM_KEY."""
    transcript: Path = Path("runs/llm")
    """Folder that every question and answer is written to; the budget of calls holds for it."""
    refinements: int = 1
    """Times the sub-goals that do not hold at the end are tried again."""

    def __post_init__(self) -> None:
        if self.planner == "llm" and not self.model:
            raise HoneError("planner 'llm' needs the name of a model (planning.model), and a server that offers it.")
        if self.refinements < 0:
            raise HoneError(f"refinements is {self.refinements}; it cannot be negative.")


@dataclass(frozen=True)
class FactFeatures(Features):
    """Features of a policy that reads facts: there is nothing to encode, so the facts go along."""

    facts: tuple[Facts, ...] = ()
    instructions: tuple[str, ...] = ()


class Pilot:
    """One episode: plans at the first facts it is given, then moves. The policy's state of one row."""

    def __init__(
        self, decompose: Decomposer, motions: Motions, refinements: int, limits: SafetyLimits | None = None
    ) -> None:
        self._decompose = decompose
        self._motions = motions
        self._left = refinements
        self._guard = Guard(limits)
        self._last = REST
        self._expert: Expert | None = None
        self._plan: Plan | None = None
        self._refusal: Refusal | None = None
        self._refined = 0

    def act(self, instruction: str, facts: Facts) -> np.ndarray:
        """The action of the next control step `[7]`; rest with the hand open once there is nothing left to do.

        After a safety stop it stands still and leaves the fingers as they are.
        """
        try:
            if self._plan is None and self._refusal is None:
                self._plan = self._decompose(instruction, facts)
                check_grounded(self._plan, facts)
                check_reachable(self._plan, facts)
                self._expert = self._expert_for(self._plan)
            while self._expert is not None:
                command = self._expert.act(facts)
                if command is not None:
                    self._last = command.action
                    return command.action
                self._expert = self._again(facts)
        except Refusal as refusal:
            log.info("'%s': %s", instruction, refusal)
            self._refusal, self._expert = refusal, None
        return REST if self._guard.stop is None else np.append(np.zeros(6), self._last[6])

    def _expert_for(self, plan: Plan) -> Expert:
        return Expert(plan=plan, motions=self._motions, guard=self._guard)

    def _again(self, facts: Facts) -> Expert | None:
        """A second try at what does not hold, while there are refinements left."""
        assert self._plan is not None
        missing = [s for s in self._plan.subgoals if s.verb != "pick" and not reached(facts, s)]
        if not missing or not self._left or self._guard.stop is not None:
            return None
        self._left -= 1
        self._refined += 1
        return self._expert_for(replace(self._plan, subgoals=tuple(missing)))

    def report(self) -> dict[str, Any]:
        refusal = None if self._refusal is None else {"reason": self._refusal.reason, "message": str(self._refusal)}
        source = None if self._plan is None else self._plan.source
        return {
            "plan": source,
            "refusal": refusal,
            "refinements": self._refined,
            "interventions": 0,
            "safety": self._guard.report(),
        }


class ScriptedPolicy:
    """Movements led by a plan, behind the contract of every policy."""

    def __init__(
        self, name: str = "skills", planning: Planning | None = None, limits: SafetyLimits | None = None
    ) -> None:
        """`name`: one of `SCRIPTED`."""
        if name not in SCRIPTED:
            raise unknown_name("scripted policy", name, SCRIPTED)
        self.name = name
        self.planning = planning or Planning()
        self.limits = limits or SafetyLimits()
        self.spec = Spec(cameras=(), facts=True)
        self.chunk_length = 1

    @property
    def text_encoder_name(self) -> str:
        return f"none; plans by {self.planning.planner} {self.planning.model}".rstrip()

    @property
    def safety_limits(self) -> str:
        """For the protocol card."""
        return self.limits.describe()

    def encode(self, observation: Observation) -> Features:
        assert observation.facts is not None
        n = len(observation)
        nothing = torch.zeros(n, 0, 1)
        mask = torch.ones(n, 0, dtype=torch.bool)
        return FactFeatures(nothing, mask, torch.zeros(n, 0), 0, observation.facts, observation.instructions)

    def propose(
        self, features: Features, state: PolicyState, k: int, generators: Sequence[torch.Generator] | None
    ) -> tuple[Candidates, PolicyState]:
        assert isinstance(features, FactFeatures)
        assert state is not None
        rows = zip(state, features.instructions, features.facts, strict=True)
        actions = np.stack([pilot.act(instruction, facts) for pilot, instruction, facts in rows])
        samples = torch.as_tensor(actions, dtype=torch.float32)[:, None, None].repeat(1, k, 1, 1)
        return Candidates(samples.clamp(self.spec.action_low, self.spec.action_high), samples), state

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        raise NoLikelihoodError("a scripted policy cannot score actions; clone its demonstrations to train a policy.")

    def initial_state(self, num_rows: int) -> PolicyState:
        decompose, motions = decomposer(self.planning), SCRIPTED[self.name]()
        return [Pilot(decompose, motions, self.planning.refinements, self.limits) for _ in range(num_rows)]


def decomposer(planning: Planning) -> Decomposer:
    """Whoever makes the plans. Imported where it is needed: a language model brings a package of its own."""
    if planning.planner == "goal":
        return _told
    if planning.planner == "grammar":
        from hone.language.grammar import decompose

        return decompose
    from hone.language.llm import Client, LlmConfig
    from hone.language.llm_planner import LlmDecomposer

    return LlmDecomposer(Client(LlmConfig(planning.model, planning.transcript, planning.base_url)))


def _told(instruction: str, facts: Facts) -> Plan:
    return goal_plan(facts)
