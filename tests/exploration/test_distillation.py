"""What a guide said becomes lessons for the policy without hints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.exploration.distillation import DistillationConfig, LessonBook, distill, lessons
from hone.policies.base import Candidate
from hone.policies.heads import DCTHeadConfig
from hone.policies.small import SmallPolicy, SmallPolicyConfig
from hone.training.rollout import EpisodeRequest, Keep, Trajectory
from hone.types import Observation, Placement, Task

TASK = Task("toy", 0, "toy", "go")
H = 4
PHRASE = "move left, keep the gripper open"


def policy(follows_hints: bool = True) -> SmallPolicy:
    head = DCTHeadConfig(hidden_sizes=(64,))
    built = SmallPolicyConfig(inputs="state", chunk_length=H, follows_hints=follows_hints, head=head).build(0)
    built.fit_normalization(observation(32))
    built.train_encoder = False
    return built


def observation(rows: int, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(rows, 3, 11)).astype(np.float32)
    return Observation(rng.normal(size=(rows, 8)).astype(np.float32), ("go",) * rows, state=state)


def trajectory(follower: SmallPolicy, number: int, hinted: bool, keep: Keep = "features") -> Trajectory:
    """Six decisions whose chunks move along by 0.1 times the number of the episode; the last was cut short."""
    seen = observation(6, seed=number)
    told = replace(seen, hints=(PHRASE if hinted else "",) * 6)
    chunk = torch.full((6, H, 7), 0.1 * number)
    with torch.no_grad():
        inputs = follower.encode(told) if keep == "features" else told
    return Trajectory(
        request=EpisodeRequest(number, TASK, Placement("sampled", number), seed=number, hinted=hinted),
        status="failure",  # what the simulator says does not matter
        steps=6 * H - 3,
        executed=np.array([H] * 5 + [1], np.int32),
        inputs=None if keep == "nothing" else inputs,
        candidate=None if keep == "nothing" else Candidate(chunk, chunk[:, :2]),
    )


@pytest.mark.parametrize("keep", ["features", "observations"])
def test_what_was_solved_is_a_lesson(keep):
    follower = policy()
    done = [trajectory(follower, number, True, keep) for number in (1, 3)]
    given = lessons(follower, done, [False, True])
    assert given is not None
    assert len(given) == 6
    torch.testing.assert_close(given.chunks, torch.full((6, H, 7), 0.3))
    assert given.executed.sum(1).tolist() == [H] * 5 + [1]


@pytest.mark.parametrize("keep", ["features", "observations"])
def test_what_a_guide_said_unheard_is_a_lesson_too(keep):
    follower = policy()
    plain = replace(trajectory(follower, 1, False, keep), hints=("", PHRASE, "", PHRASE, "", ""))
    given = lessons(follower, [plain], [False])
    assert given is not None
    seen = observation(6, seed=1).rows(np.array([1, 3]))
    with torch.no_grad():
        told = follower.predict_action_chunk(replace(seen, hints=(PHRASE,) * 2))
        assert (told - follower.predict_action_chunk(seen)).abs().max() > 0.01
    np.testing.assert_allclose(given.chunks.numpy(), told, atol=1e-6)
    assert given.executed.all()


def test_a_book_keeps_the_newest_and_comes_back_from_a_checkpoint():
    follower, book = policy(), LessonBook(capacity=8)
    for number in (1, 3):
        given = lessons(follower, [trajectory(follower, number, True)], [True])
        assert given is not None
        kept = book.add(given)
    assert len(kept) == 8
    torch.testing.assert_close(kept.chunks[:, 0, 0], torch.tensor([0.1] * 2 + [0.3] * 6))
    again = LessonBook(capacity=8)
    again.load(book.tensors(), follower.features_version)
    assert again.kept is not None
    for name, tensor in again.tensors().items():
        torch.testing.assert_close(tensor, book.tensors()[name], atol=0, rtol=0)
    assert LessonBook(8).tensors() == {}


def test_nothing_solved_and_nothing_said_is_no_lesson():
    follower = policy()
    assert lessons(follower, [trajectory(follower, 1, False)], [False]) is None
    assert lessons(follower, [trajectory(follower, 1, True)], [False]) is None


def test_advice_that_does_not_help_is_not_taken_and_what_succeeds_without_it_is_kept():
    follower = policy()
    plain = [replace(trajectory(follower, number, False), hints=(PHRASE,) * 6) for number in (1, 2)]
    given = lessons(follower, plain, [True, False], helps=lambda task: False)
    assert given is not None
    torch.testing.assert_close(given.chunks, torch.full((6, H, 7), 0.1))  # what was done in the one that succeeded
    heard = lessons(follower, plain, [True, False])
    assert heard is not None
    assert heard.advised.all()
    assert len(heard.heeding([TASK])) == 12
    assert len(heard.heeding([])) == 0
    assert len(given.heeding([])) == 6


def test_what_succeeds_with_hints_is_no_lesson_where_they_do_not_help():
    follower = policy()
    asked = trajectory(follower, 1, True)
    assert asked.request.hinted
    assert lessons(follower, [asked], [True]) is not None
    assert lessons(follower, [asked], [True], helps=lambda task: False) is None


def test_the_policy_learns_to_do_it_unasked():
    follower = policy()
    given = lessons(follower, [trajectory(follower, 4, True)], [True])
    assert given is not None
    encoder = [parameter.clone() for parameter in follower.encoder_parameters()]
    config = DistillationConfig(steps=200, learning_rate=3e-3)
    metrics = distill(follower, given, config, torch.Generator().manual_seed(0))
    assert metrics["distill_loss"] < 0.1 * metrics["distill_loss_before"]
    unasked = follower.predict_action_chunk(observation(6, seed=4))
    assert (unasked[:5] - 0.4).abs().max() < 0.1
    told = replace(observation(6, seed=9), hints=("lower far, keep the gripper open",) * 6)
    lowered = follower.predict_action_chunk(told)  # it still listens, where it has never been
    assert lowered[..., 2].mean() < -0.04
    for before, after in zip(encoder, follower.encoder_parameters(), strict=True):
        torch.testing.assert_close(before, after, atol=0, rtol=0)


def test_what_cannot_be_distilled_says_why():
    follower = policy()
    with pytest.raises(HoneError, match="keep no decisions"):
        lessons(follower, [trajectory(follower, 1, True, "nothing")], [True])
    mixed = policy(follows_hints=False)
    muddled = lessons(mixed, [trajectory(mixed, 1, True)], [True])
    assert muddled is not None
    with pytest.raises(HoneError, match="mix the hint"):
        distill(mixed, muddled, DistillationConfig(steps=1), torch.Generator())
    given = lessons(follower, [trajectory(follower, 1, True)], [True])
    assert given is not None
    follower.features_version += 1
    with pytest.raises(HoneError, match="encoder version 0"):
        distill(follower, given, DistillationConfig(), torch.Generator())
    follower.train_encoder = True
    with pytest.raises(HoneError, match="keep observations"):
        distill(follower, given, DistillationConfig(), torch.Generator())
    with pytest.raises(HoneError, match="steps is 0"):
        DistillationConfig(steps=0)
