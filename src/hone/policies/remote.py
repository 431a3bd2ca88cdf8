"""A policy on the other end of a websocket: `hone eval --policy remote:ws://host:8000`. Evaluated, not trained.

Every running episode has a connection of its own, so a server that keeps state per connection keeps it per episode.
All rows of a look are sent before any answer is read, so the server can decide on them together.

A connection that breaks is opened anew. Where the server keeps nothing between requests the same request is sent again;
where it does, what it remembered of the episode is gone, and the episode is void and runs again (`PolicyFault`).
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from hone.data.lerobot_format import reorient
from hone.errors import HoneError
from hone.policies.base import (
    NO_GRADIENTS,
    REMOTE,
    Candidate,
    Candidates,
    Features,
    LogProb,
    NoLikelihoodError,
    PolicyFault,
    PolicyState,
)
from hone.policies.observations import camera_images, conditioned_sentences
from hone.serving.client import LineLostError, WebsocketLine
from hone.serving.dialect import ClientSide, Greeting, Question
from hone.serving.names import check_names, openpi_names, renamed, vla_eval_names
from hone.serving.openpi import OpenpiClient
from hone.serving.vla_eval import VlaEvalClient
from hone.specs import Orientation, Spec
from hone.types import PROPRIO_DIM, Observation

log = logging.getLogger(__name__)

KEY_VARIABLE = "HONE_API_KEY"
LISTEN_S = 1.5
"""A server that says nothing for so long after a client has connected speaks vla-eval's dialect (in `auto`)."""
RESENDS = 2
"""Times a request is sent again after its connection broke."""


@dataclass(frozen=True)
class RemoteConfig:
    """How to reach a policy server, and what it is sent. Its key, if it needs one, is read from $HONE_API_KEY."""

    dialect: Literal["auto", "openpi", "vla_eval"] = "auto"
    """`openpi` or `vla_eval`; `auto` finds out by who speaks first."""
    execute: int | None = None
    """Actions executed of each chunk; all of them by default."""
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    """Cameras whose pictures are sent. A server by Hone says itself which it wants."""
    image_size: int = 224
    """Pixels on a side that are sent. A server by Hone says itself how many it wants."""
    image_orientation: Orientation = "rotated_180"
    """How sent pictures stand; published LIBERO policies want them turned by 180 degrees. A server by Hone says."""
    rename: tuple[str, ...] = ()
    """Keys to use instead of the dialect's LIBERO keys: `agentview=observation/base_image`, `state=…`, `prompt=…`."""
    timeout_s: float = 20.0
    """Longest wait for an answer; after it the run ends with an error."""
    connect_s: float = 20.0
    """Longest wait for a server that is not there, at the start or in between; after it the run ends with an error."""
    warmup_s: float = 300.0
    """Longest wait for the very first answer, for which a server may compile its model."""

    def __post_init__(self) -> None:
        if min(self.timeout_s, self.connect_s, self.warmup_s) <= 0:
            raise HoneError("timeout_s, connect_s and warmup_s must be positive.")
        if self.execute is not None and self.execute < 1:
            raise HoneError(f"execute is {self.execute}; at least one action of a chunk must be executed.")


@dataclass(frozen=True)
class Seen(Features):
    """Nothing is encoded here: the observation goes along to `propose`, which asks the server."""

    observation: Observation | None = None


@dataclass
class Call:
    """An open line, and the dialect spoken on it."""

    line: WebsocketLine
    side: ClientSide


@dataclass(eq=False)
class Contact:
    """One episode's line to the server, taken at its first look: a row of the policy's state.

    `answered` counts its decisions; `sent`: a request is out whose answer has not been read.
    """

    call: Call | None = None
    answered: int = 0
    sent: bool = False


class RemotePolicy:
    """A policy server behind the contract of every policy."""

    def __init__(self, address: str, config: RemoteConfig | None = None) -> None:
        """Connect, check names, and find out how long the server's chunks are, by one blank observation if need be."""
        self.address = address.removeprefix(REMOTE)
        self.config = config or RemoteConfig()
        self._key = os.environ.get(KEY_VARIABLE, "")
        self._free: list[Call] = []
        self._dialect = self.config.dialect
        try:
            call, self.greeting = self._open()
            self._dialect = self.greeting.dialect
            self.spec = self._spec()
            length = self.greeting.chunk_length or self._probed_length(call)
        except LineLostError as lost:
            raise HoneError(f"the server at {self.address} hung up while it was being greeted: {lost}.") from lost
        self.chunk_length = self.config.execute or length
        if self.chunk_length > length:
            raise HoneError(
                f"execute is {self.config.execute}, but the chunks of {self.address} have {length} actions."
            )
        self._free.append(call)

    @property
    def text_encoder_name(self) -> str:
        return f"the server's ({self.greeting.server}, {self.greeting.dialect})"

    def encode(self, observation: Observation) -> Features:
        rows = len(observation)
        no_tokens, no_mask = torch.zeros(rows, 0, 1), torch.ones(rows, 0, dtype=torch.bool)
        return Seen(no_tokens, no_mask, torch.zeros(rows, 0), 0, observation)

    def propose(
        self, features: Features, state: PolicyState, k: int, generators: Sequence[torch.Generator] | None
    ) -> tuple[Candidates, PolicyState]:
        assert isinstance(features, Seen)
        assert features.observation is not None
        contacts: list[Contact] = state or self.initial_state(len(features))
        questions = self._questions(features.observation, generators, k)
        chunks = self._ask(contacts, questions)
        samples = torch.from_numpy(chunks)
        if generators is None:  # the greedy chunk was asked for once
            samples = samples.repeat(1, k, 1, 1)
        return Candidates(samples.clamp(self.spec.action_low, self.spec.action_high), samples), contacts

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        raise NoLikelihoodError(NO_GRADIENTS)

    def initial_state(self, num_rows: int) -> list[Contact]:
        return [Contact() for _ in range(num_rows)]

    def close(self) -> None:
        """Hang up every line that no episode holds."""
        for call in self._free:
            call.line.close()
        self._free.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Without its open lines: another process opens its own."""
        return {**self.__dict__, "_free": []}

    def _spec(self) -> Spec:
        """What the server declares; by default LIBERO's conventions with the pictures that are to be sent."""
        ours = Spec(
            cameras=self.config.cameras,
            image_size=self.config.image_size,
            image_orientation=self.config.image_orientation,
        )
        return self.greeting.spec or ours

    def _open(self) -> tuple[Call, Greeting]:
        """A line on which the server has been greeted and the names have been checked."""
        line = WebsocketLine(self.address, self._key, self.config.connect_s)
        first = line.listen(LISTEN_S) if self._dialect == "auto" else None
        is_openpi = self._dialect == "openpi" or first is not None
        side = OpenpiClient() if is_openpi else VlaEvalClient()
        greeting = side.greet(line, first, self.config.timeout_s)
        cameras = self.config.cameras if greeting.spec is None else greeting.spec.cameras
        side.names = renamed(openpi_names(cameras) if is_openpi else vla_eval_names(cameras), self.config.rename)
        if greeting.wants is not None:
            check_names(side.names, greeting.wants, f"{greeting.server} at {self.address}")
        return Call(line, side), greeting

    def _probed_length(self, call: Call) -> int:
        """Length of the chunk that answers one blank observation."""
        size = self.spec.image_size
        blank = Observation(
            proprio=np.zeros((1, PROPRIO_DIM), np.float32),
            instructions=("do nothing",),
            images=np.zeros((1, len(self.spec.cameras), size, size, 3), np.uint8),
        )
        question = self._questions(blank, None, 1)[0]
        call.side.begin(call.line, question.instruction)
        call.side.ask(call.line, question)
        return self._checked(call.side.answer(call.line, question, self.config.warmup_s), question, 1).shape[1]

    def _questions(
        self, observation: Observation, generators: Sequence[torch.Generator] | None, k: int
    ) -> list[Question]:
        images = camera_images(observation, self.spec)
        wire = self.greeting.image_orientation or self.spec.image_orientation
        turned = [reorient(camera.numpy(), self.spec.image_orientation, wire) for camera in images]
        return [
            Question(
                {camera: turned[c][row] for c, camera in enumerate(self.spec.cameras)},
                observation.proprio[row],
                sentence,
                None if generators is None else _seed(generators[row]),
                1 if generators is None else k,
            )
            for row, sentence in enumerate(conditioned_sentences(observation))
        ]

    def _ask(self, contacts: Sequence[Contact], questions: Sequence[Question]) -> np.ndarray:
        """An answer per row, `[B, K, H, A]`: every question is sent before any answer is read."""
        for contact, question in zip(contacts, questions, strict=True):
            with suppress(LineLostError):  # `_answer` will find that out
                self._send(contact, question)
        return np.stack(
            [self._answer(contact, question) for contact, question in zip(contacts, questions, strict=True)]
        )

    def _send(self, contact: Contact, question: Question) -> None:
        if contact.call is None:
            contact.call = self._free.pop() if self._free else self._open()[0]
            weakref.finalize(contact, self._free.append, contact.call)  # a line outlives its episode
        if contact.answered == 0:
            contact.call.side.begin(contact.call.line, question.instruction)
        contact.call.side.ask(contact.call.line, question)
        contact.sent = True

    def _answer(self, contact: Contact, question: Question) -> np.ndarray:
        for _ in range(RESENDS + 1):
            try:
                if not contact.sent:
                    self._send(contact, question)
                assert contact.call is not None
                chunks = contact.call.side.answer(contact.call.line, question, self.config.timeout_s)
            except LineLostError as lost:
                self._reconnect(contact, lost)
                continue
            contact.sent = False
            contact.answered += 1
            return self._checked(chunks, question, self.chunk_length)[:, : self.chunk_length]
        raise HoneError(f"the connection to {self.address} broke {RESENDS + 1} times over the same observation.")

    def _reconnect(self, contact: Contact, lost: LineLostError) -> None:
        """A new line for an episode; raises `PolicyFault` where the server's memory of it went with the old one."""
        assert contact.call is not None
        contact.sent = False
        log.warning("connection to %s lost (%s); connecting again", self.address, lost)
        call, _ = self._open()
        contact.call.line, contact.call.side = call.line, call.side
        if contact.answered and not self.greeting.memoryless:
            raise PolicyFault(f"the connection to {self.address} broke, and with it went what it remembered: {lost}.")

    def _checked(self, chunks: np.ndarray, question: Question, least: int) -> np.ndarray:
        count, length, dim = chunks.shape
        if count != question.candidates or length < least or dim != self.spec.action_dim:
            raise HoneError(
                f"{self.address} answered with {count} x {length} actions of {dim} numbers; {question.candidates} x at "
                f"least {least} of {self.spec.action_dim} were expected."
            )
        if not np.isfinite(chunks).all():
            raise HoneError(f"{self.address} answered with an action that is not a finite number.")
        return chunks


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))
