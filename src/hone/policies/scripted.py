"""Plans and movements as a policy: `hone eval --policy skills` and `--policy lmp`. No demonstrations, no pictures.

It is told the instruction and reads the facts of the scene, which is privileged. A planner turns the instruction into
sub-goals once, at the first look; movements carry them out, one control step per decision. Sub-goals that do not hold
at the end are tried again, `refinements` times at most. Where the planner refuses, the robot does not move. Every
motion goes through the safety limits (`primitives/safety.py`); a robot that they stopped keeps its hand as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from hone.envs.libero.facts import Facts
from hone.errors import HoneError, unknown_name
from hone.language.grammar import decompose
from hone.language.llm import Client, LlmConfig
from hone.language.llm_planner import LlmDecomposer
from hone.language.plan import Decomposer, Plan, Refusal, Subgoal, check_grounded, check_reachable
from hone.language.scene_words import subgoal_words
from hone.policies.base import Candidate, Candidates, Features, LogProb, NoLikelihoodError, PolicyState
from hone.primitives.conditions import reached
from hone.primitives.expert import Expert, goal_plan
from hone.primitives.lmp import LmpConfig
from hone.primitives.lmp_llm import LlmMotion
from hone.primitives.lmp_proposers import Proposer, SearchedWeights, zero_weights
from hone.primitives.lmp_weights import DeafWeights, ModelWeights, RuleWeights, random_weights
from hone.primitives.motions import LmpMotions, Motions, TypedSkills
from hone.primitives.safety import Guard, SafetyLimits
from hone.specs import Spec
from hone.types import Observation

log = logging.getLogger(__name__)

REST = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
SETTLING_STEPS = 10
"""What was let go may still be falling: so long is waited before a sub-goal counts as missed."""
SCRIPTED = ("skills", "lmp")
"""Policies by the form of their movements: typed skills, or language movement primitives for taking and bringing."""
Planner = Literal["grammar", "llm", "goal"]
Weights = Literal["rule", "heed", "llm", "zero", "random", "search"]


@dataclass(frozen=True)
class Planning:
    """How a scripted policy comes to its plan, and what it does when one fails."""

    planner: Planner = "grammar"
    """`grammar` reads the instruction, and so does `llm`, a language model; `goal` is told the simulator's own goal (an
    upper bound, and an ablation)."""
    weights: Weights = "rule"
    """Who sets the weights of `lmp`: a rule that sees what stands around; the same rule blind, which heeds only what
    was touched before; a language model (the rule stands in where it fails); nobody; chance; or a search (CMA-ES)."""
    bases: int = 11
    """Weights per row of `lmp`."""
    gate: bool = True
    """Whether the weights of `lmp` fade out towards the end of a movement."""
    feedback: bool = True
    """Whether who sets the weights is told what came of the attempts before."""
    model: str = ""
    """The language model's name, as its server knows it."""
    base_url: str = "http://localhost:8000/v1"
    """Address of the OpenAI-compatible server; its key is read from $HONE_LLM_KEY."""
    transcript: Path = Path("runs/llm")
    """Folder that every question and answer is written to; the budget of calls holds for it."""
    max_calls: int = 200
    """Requests to the language model that the folder may hold in all."""
    refinements: int = 1
    """Times the sub-goals that do not hold at the end are tried again."""

    def __post_init__(self) -> None:
        if self.asks_a_model and not self.model:
            raise HoneError("'llm' needs the name of a model (planning.model), and a server that offers it.")
        if self.weights == "llm" and self.bases != LmpConfig().num_bases:
            raise HoneError(f"a language model writes {LmpConfig().num_bases} weights per row, not {self.bases}.")
        if self.refinements < 0:
            raise HoneError(f"refinements is {self.refinements}; it cannot be negative.")

    @property
    def asks_a_model(self) -> bool:
        return "llm" in (self.planner, self.weights)


@dataclass(frozen=True)
class FactFeatures(Features):
    """Features of a policy that reads facts: there is nothing to encode, so the facts go along."""

    facts: tuple[Facts, ...] = ()
    instructions: tuple[str, ...] = ()


class Pilot:
    """One episode: plans at the first facts it is given, then moves. The policy's state of one row."""

    def __init__(
        self,
        decompose: Decomposer,
        motions: Motions,
        refinements: int,
        limits: SafetyLimits | None = None,
        calls: Callable[[], int] = lambda: 0,
    ) -> None:
        """`calls`: how many requests went to a language model so far."""
        self._decompose = decompose
        self._motions = motions
        self._calls = calls
        self._left = refinements
        self._guard = Guard(limits)
        self._last = REST
        self._expert: Expert | None = None
        self._plan: Plan | None = None
        self._refusal: Refusal | None = None
        self._refined = 0
        self._waited = 0
        self._missed: tuple[Subgoal, ...] = ()

    @property
    def has_ended(self) -> bool:
        """There is nothing left that it would do."""
        return self._expert is None and (self._plan is not None or self._refusal is not None)

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
                    self._waited, self._last = 0, command.action
                    return command.action
                missing = self._missed = self._missing(facts)
                if missing and self._left and self._guard.stop is None and self._waited < SETTLING_STEPS:
                    self._waited += 1
                    return REST
                self._expert = self._again(missing)
        except Refusal as refusal:
            log.info("'%s': %s", instruction, refusal)
            self._refusal, self._expert = refusal, None
        return REST if self._guard.stop is None else np.append(np.zeros(6), self._last[6])

    def _expert_for(self, plan: Plan) -> Expert:
        return Expert(plan=plan, motions=self._motions, guard=self._guard)

    def _missing(self, facts: Facts) -> tuple[Subgoal, ...]:
        """The sub-goals that do not hold."""
        assert self._plan is not None
        return tuple(s for s in self._plan.subgoals if s.verb != "pick" and not reached(facts, s))

    def _again(self, missing: tuple[Subgoal, ...]) -> Expert | None:
        """A second try at what does not hold, while there are refinements left."""
        assert self._plan is not None
        if not missing or not self._left or self._guard.stop is not None:
            return None
        self._left -= 1
        self._refined += 1
        return self._expert_for(replace(self._plan, subgoals=missing))

    def report(self) -> dict[str, Any]:
        """`missed`: the sub-goals that did not hold when it last had done what it could."""
        refusal = None if self._refusal is None else {"reason": self._refusal.reason, "message": str(self._refusal)}
        source = None if self._plan is None else self._plan.source
        return {
            "plan": source,
            "refusal": refusal,
            "refinements": self._refined,
            "interventions": 0,
            "safety": self._guard.report(),
            "missed": [subgoal_words(subgoal) for subgoal in self._missed],
            "model_calls": self._calls(),
            **self._motions.report(),
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
        if name == "skills" and self.planning.weights == "llm":
            raise HoneError("typed skills have no weights for a language model to set; use the policy 'lmp'.")
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
        return [pilot(self.name, self.planning, self.limits) for _ in range(num_rows)]


def pilot(name: str, planning: Planning, limits: SafetyLimits | None = None) -> Pilot:
    """A pilot for one episode of a scripted policy."""
    client = _client(planning) if planning.asks_a_model else None
    motions = TypedSkills() if name == "skills" else _lmp(planning, client)
    calls = (lambda: 0) if client is None else (lambda: client.calls)
    return Pilot(_decomposer(planning, client), motions, planning.refinements, limits, calls)


def _client(planning: Planning) -> Client:
    config = LlmConfig(planning.model, planning.transcript, planning.base_url, max_calls=planning.max_calls)
    return Client(config)


def _decomposer(planning: Planning, client: Client | None) -> Decomposer:
    if planning.planner == "goal":
        return _told
    if planning.planner == "grammar":
        return decompose
    assert client is not None
    return LlmDecomposer(client)


def _lmp(planning: Planning, client: Client | None) -> LmpMotions:
    deaf: dict[str, Proposer] = {"zero": zero_weights, "random": random_weights, "search": SearchedWeights()}
    if planning.weights in ("rule", "heed"):
        weigh = RuleWeights(foresight=planning.weights == "rule")
    elif planning.weights == "llm":
        assert client is not None
        weigh = ModelWeights(LlmMotion(client))
    else:
        weigh = DeafWeights(planning.weights, deaf[planning.weights])
    return LmpMotions(weigh, LmpConfig(planning.bases, planning.gate), planning.feedback)


def _told(instruction: str, facts: Facts) -> Plan:
    return goal_plan(facts)
