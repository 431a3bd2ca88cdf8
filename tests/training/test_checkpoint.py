import errno
import logging
from pathlib import Path

import pytest
import torch
from toy_policies import LinearGaussianPolicy, gaussian_batch

from hone.errors import HoneError
from hone.seeding import numpy_generator
from hone.training.checkpoint import CheckpointError, load_best, load_latest, save_checkpoint
from hone.training.grpo import GRPO, GRPOConfig


def save(run: Path, iteration: int, **more) -> Path:
    tensors = {"moment": torch.full((2, 2), float(iteration)), "step": torch.tensor(iteration)}
    return save_checkpoint(run, iteration, LinearGaussianPolicy(), tensors=tensors, state={"counts": iteration}, **more)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_what_was_saved_is_read_back(tmp_path: Path):
    numpy_state = numpy_generator(0).bit_generator.state  # holds 128-bit integers
    torch_state = torch.Generator().manual_seed(5).get_state()
    save_checkpoint(
        tmp_path,
        7,
        LinearGaussianPolicy(),
        tensors={"generator": torch_state},
        state={"numpy": numpy_state, "lr": 5e-5},
    )
    checkpoint = load_latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.iteration == 7
    assert checkpoint.state == {"numpy": numpy_state, "lr": 5e-5}
    assert torch.equal(checkpoint.tensors["generator"], torch_state)
    LinearGaussianPolicy().load(checkpoint.policy_folder)


def test_a_new_run_has_no_checkpoint(tmp_path: Path):
    assert load_latest(tmp_path) is None
    assert load_best(tmp_path) is None


def test_the_last_few_and_the_best_are_kept(tmp_path: Path):
    for iteration in range(1, 7):
        save(tmp_path, iteration, keep=2, best=iteration == 2)
    assert names(tmp_path) == ["000002", "000005", "000006", "best", "latest"]
    latest, best = load_latest(tmp_path), load_best(tmp_path)
    assert latest is not None
    assert best is not None
    assert (latest.iteration, best.iteration) == (6, 2)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "manifest", "policy"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damage: str, caplog):
    save(tmp_path, 1)
    folder = save(tmp_path, 2)
    file = folder / "trainer.safetensors"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-4])
    elif damage == "flipped":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif damage == "missing":
        file.unlink()
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        (folder / "policy" / "model.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        checkpoint = load_latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.iteration == 1
    assert "000002" in caplog.text


def test_only_damaged_checkpoints_is_an_error_not_a_fresh_start(tmp_path: Path):
    (save(tmp_path, 1) / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"all 1 checkpoints in .* are damaged"):
        load_latest(tmp_path)


def test_a_lost_pointer_does_not_matter(tmp_path: Path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "checkpoints" / "latest").unlink()
    checkpoint = load_latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.iteration == 2


def test_a_full_disk_leaves_no_half_checkpoint(tmp_path: Path, monkeypatch):
    save(tmp_path, 1)
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "trainer.safetensors":
            write_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(HoneError, match=r"no space left to write .*000002"):
            save(tmp_path, 2)
    assert names(tmp_path) == ["000001", "latest"]
    save(tmp_path, 2)  # and once there is space again, it goes on
    assert names(tmp_path) == ["000001", "000002", "latest"]


def test_an_interrupt_leaves_no_half_checkpoint(tmp_path: Path):
    class Interrupted(LinearGaussianPolicy):
        def save_pretrained(self, folder: str | Path) -> None:
            super().save_pretrained(folder)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 1, Interrupted(), tensors={}, state={})
    assert names(tmp_path) == []


def test_what_a_killed_writer_left_is_ignored_and_cleared(tmp_path: Path):
    save(tmp_path, 1)
    leftover = tmp_path / "checkpoints" / ".partial-000002"
    leftover.mkdir()
    (leftover / "state.json").write_text("{")
    checkpoint = load_latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.iteration == 1
    save(tmp_path, 3)
    assert names(tmp_path) == ["000001", "000003", "latest"]


def test_train_two_save_resume_two_equals_train_four(tmp_path: Path):
    config = GRPOConfig(learning_rate=1e-4, minibatches=2)  # so small that the KL raises it

    def train(policy: LinearGaussianPolicy, grpo: GRPO, draws: torch.Generator, seeds: range) -> None:
        for seed in seeds:
            grpo.update(gaussian_batch(policy, 32, seed, stored=False), draws)

    straight = LinearGaussianPolicy()
    grpo, draws = GRPO(straight, config), torch.Generator().manual_seed(0)
    train(straight, grpo, draws, range(4))

    first = LinearGaussianPolicy()
    stopped, draws = GRPO(first, config), torch.Generator().manual_seed(0)
    train(first, stopped, draws, range(2))
    state = stopped.state_dict()
    tensors = {**state["tensors"], "generator": draws.get_state()}
    save_checkpoint(tmp_path, 2, first, tensors=tensors, state={"learning_rate": state["learning_rate"]})

    checkpoint = load_latest(tmp_path)
    assert checkpoint is not None
    second, draws = LinearGaussianPolicy(), torch.Generator()
    second.load(checkpoint.policy_folder)
    resumed = GRPO(second, config)
    draws.set_state(checkpoint.tensors.pop("generator"))
    resumed.load_state_dict({"tensors": checkpoint.tensors, **checkpoint.state})
    assert resumed.learning_rate > config.learning_rate
    train(second, resumed, draws, range(2, 4))
    torch.testing.assert_close(second.state_dict(), straight.state_dict(), atol=0, rtol=0)
