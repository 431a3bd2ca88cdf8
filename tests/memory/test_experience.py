import logging
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_policies import LinearGaussianPolicy

from hone.errors import HoneError
from hone.memory import Memory, Retrieval, weights_of
from hone.memory.retrieval import softmax
from hone.memory.store import cosine
from hone.types import Task

SOUP, SAUCE, MILK, STOVE = (
    Task("libero_object", index, words.replace(" ", "_"), words)
    for index, words in enumerate(
        (
            "pick up the alphabet soup and place it in the basket",
            "pick up the tomato sauce and place it in the basket",
            "pick up the milk and place it in the basket",
            "turn on the stove",
        )
    )
)
HEAD = "head.linear.weight"


def base_policy(encoder_weight: float = 1.0) -> LinearGaussianPolicy:
    policy = LinearGaussianPolicy()
    policy.train_encoder = False
    with torch.no_grad():
        policy.encoder.weight *= encoder_weight
        policy.head.linear.bias.fill_(100.0)
    return policy


def remember(memory: Memory, task: Task, change: float, success: float = 0.8, encoder_weight: float = 1.0):
    policy = base_policy(encoder_weight)
    base = weights_of(policy)
    with torch.no_grad():
        policy.head.linear.weight += change
    return memory.remember(policy, base, task, success=success, iterations=5, details={"run": "one"})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recall(
    memory: Memory,
    task: Task = SOUP,
    mode: Retrieval = "similar",
    policy: LinearGaussianPolicy | None = None,
    seed: int = 0,
):
    return memory.recall(policy or base_policy(), task.instruction, mode, generator(seed))


def test_an_empty_memory_gives_nothing_and_says_nothing(tmp_path: Path, caplog):
    assert recall(Memory.open(tmp_path)) is None
    assert not caplog.records


def test_the_warm_start_is_the_softmax_weighted_mean_of_the_nearest(tmp_path: Path):
    memory = Memory.open(tmp_path, top_k=2)
    for task, change in ((SAUCE, 1.0), (STOVE, 2.0), (MILK, 4.0)):
        assert remember(memory, task, change) is not None
    found = recall(memory)
    assert found is not None
    # By hand: the stove is the farthest; e^(cos / 0.1) for the other two.
    query, sauce, milk = memory.encoder.encode([SOUP.instruction, SAUCE.instruction, MILK.instruction])
    powers = [math.exp(cosine(query, other) / 0.1) for other in (sauce, milk)]
    expected = (powers[0] * 1.0 + powers[1] * 4.0) / sum(powers)
    assert {source.instruction for source in found.sources} == {SAUCE.instruction, MILK.instruction}
    assert torch.allclose(found.delta[HEAD], torch.tensor(expected), atol=1e-5)
    policy = base_policy()
    found.apply_to(policy)
    assert torch.allclose(policy.head.linear.weight, torch.tensor(expected), atol=1e-5)
    assert torch.equal(policy.encoder.weight, base_policy().encoder.weight)


def test_the_same_task_alone_gives_its_own_weights_back(tmp_path: Path):
    memory = Memory.open(tmp_path)
    remember(memory, SOUP, 0.5)
    found = recall(Memory.open(tmp_path))
    assert found is not None
    assert torch.allclose(found.delta[HEAD], torch.tensor(0.5))
    assert found.sources[0].similarity == pytest.approx(1)


def test_softmax_reduces_to_the_mean_when_hot_and_to_the_nearest_when_cold():
    assert softmax([0.2, 0.9], 1e6) == pytest.approx([0.5, 0.5], abs=1e-5)
    assert softmax([0.2, 0.9], 1e-3) == pytest.approx([0.0, 1.0])


def test_the_random_control_weighs_equally_and_ignores_the_instruction(tmp_path: Path):
    memory = Memory.open(tmp_path, top_k=2)
    for task, change in ((SOUP, 1.0), (SAUCE, 2.0), (STOVE, 4.0)):
        remember(memory, task, change)
    drawn = [recall(memory, mode="random", seed=seed) for seed in range(20)]
    assert all([source.share for source in found.sources] == [0.5, 0.5] for found in drawn if found)
    values = {round(float(found.delta[HEAD].mean()), 3) for found in drawn if found}
    assert values == {1.5, 2.5, 3.0}
    again = recall(memory, mode="random", seed=3, task=STOVE)
    assert again is not None
    assert drawn[3] is not None
    assert [s.instruction for s in again.sources] == [s.instruction for s in drawn[3].sources]


def test_no_memory_is_a_mode(tmp_path: Path):
    memory = Memory.open(tmp_path)
    remember(memory, SOUP, 1.0)
    assert recall(memory, mode="none") is None


def test_what_another_base_learned_is_left_alone_with_one_line(tmp_path: Path, caplog):
    memory = Memory.open(tmp_path)
    remember(memory, SOUP, 1.0, encoder_weight=2.0)
    assert recall(memory) is None
    assert "none of the 1 entries" in caplog.text


def test_a_memory_of_another_architecture_is_left_alone(tmp_path: Path, caplog):
    memory = Memory.open(tmp_path)
    remember(memory, SOUP, 1.0)
    assert recall(memory, policy=LinearGaussianPolicy(chunk_length=4)) is None
    assert "none of the 1 entries" in caplog.text


@pytest.mark.parametrize(
    ("poison", "complaint"),
    [
        ({HEAD: torch.full((6, 8), float("nan"))}, "not finite"),
        ({HEAD: torch.zeros(6, 9)}, r"shape \[6, 9\]"),
        ({HEAD: torch.full((6, 8), 1e6)}, "norm"),
        ({"head.extra": torch.zeros(1)}, "has head.extra"),
    ],
)
def test_a_poisoned_entry_is_refused_with_one_warning_and_the_next_is_taken(tmp_path: Path, poison, complaint, caplog):
    memory = Memory.open(tmp_path, top_k=1)
    kept = remember(memory, SOUP, 1.0)
    remember(memory, SAUCE, 2.0)
    assert kept is not None
    sound = memory.store.delta(kept)
    assert sound is not None
    memory.store.put(kept, {**sound, **poison})  # a valid checksum, but not an adaptation
    with caplog.at_level(logging.WARNING):
        found = [recall(memory), recall(memory)]
    assert [f.sources[0].instruction for f in found if f] == [SAUCE.instruction] * 2
    assert len(caplog.records) == 1
    assert re.search(complaint, caplog.text)


def test_an_entry_with_another_embedding_is_refused(tmp_path: Path, caplog):
    memory = Memory.open(tmp_path)
    kept = remember(memory, SOUP, 1.0)
    assert kept is not None
    delta = memory.store.delta(kept)
    assert delta is not None
    memory.store.put(replace(kept, embedding=np.ones(3, np.float32)), delta)
    assert recall(memory) is None
    assert "its embedding has 3 numbers, not 256" in caplog.text


@pytest.mark.parametrize(("change", "success"), [(float("nan"), 0.5), (1e6, 0.5), (0.1, float("nan")), (0.1, 1.5)])
def test_what_is_not_sound_is_not_remembered_and_the_run_goes_on(tmp_path: Path, change, success, caplog):
    memory = Memory.open(tmp_path)
    assert remember(memory, SOUP, change, success) is None
    assert memory.store.entries() == []
    assert "not remembered" in caplog.text


def test_a_store_that_cannot_be_written_does_not_stop_the_run(tmp_path: Path, monkeypatch, caplog):
    memory = Memory.open(tmp_path)

    def full(path: Path, content: bytes) -> None:
        raise HoneError("no space left")

    monkeypatch.setattr("hone.memory.store.write_atomically", full)
    assert remember(memory, SOUP, 1.0) is None
    assert "no space left" in caplog.text


def test_bad_settings_are_refused(tmp_path: Path):
    with pytest.raises(HoneError, match="temperature 0"):
        Memory.open(tmp_path, temperature=0.0)
    with pytest.raises(HoneError, match="unknown text encoder"):
        Memory.open(tmp_path, encoder="hashed")
