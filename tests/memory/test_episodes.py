import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from hone.errors import HoneError
from hone.memory import Attempt, EpisodeMemory
from hone.types import Task

TASK, OTHER = Task("suite", 0, "soup", "pick up the soup"), Task("suite", 1, "milk", "pick up the milk")


def attempt(number: int, task: Task = TASK, success: bool = False) -> Attempt:
    facts = (f"the {task.name} is on the floor",)
    return Attempt(task.suite, task.name, task.instruction, success, facts, hint="lower", steps=number)


def steps(attempts: list[Attempt]) -> list[int]:
    return [found.steps for found in attempts]


def test_the_latest_attempts_of_a_task_come_first(tmp_path: Path):
    memory = EpisodeMemory(tmp_path / "attempts.jsonl")
    assert memory.recent(TASK, 5) == []
    memory.add([attempt(1), attempt(2, OTHER), attempt(3, success=True), attempt(4)])
    assert steps(memory.recent(TASK, 2)) == [4, 3]
    assert steps(memory.recent(TASK, 9, success=False)) == [4, 1]
    assert memory.recent(TASK, 1)[0] == attempt(4)


def test_a_reader_sees_what_was_added_since(tmp_path: Path):
    writer, reader = (EpisodeMemory(tmp_path / "attempts.jsonl") for _ in range(2))
    writer.add([attempt(1)])
    assert steps(reader.recent(TASK, 5)) == [1]
    writer.add([attempt(2)])
    assert steps(reader.recent(TASK, 5)) == [2, 1]


def test_a_torn_last_line_is_passed_over_and_the_next_one_is_whole(tmp_path: Path, caplog):
    path = tmp_path / "attempts.jsonl"
    EpisodeMemory(path).add([attempt(1), attempt(2)])
    path.write_bytes(path.read_bytes()[:-20])
    reader = EpisodeMemory(path)
    assert steps(reader.recent(TASK, 5)) == [1]
    EpisodeMemory(path).add([attempt(3)])
    assert steps(reader.recent(TASK, 5)) == [3, 1]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("line", ["{}", "[1]", '"words"', "null", '{"facts": [1]}', "\\x00"])
def test_lines_that_are_no_attempts_are_skipped(tmp_path: Path, line: str):
    path = tmp_path / "attempts.jsonl"
    path.write_text(line + "\n")
    memory = EpisodeMemory(path)
    memory.add([attempt(1)])
    assert steps(memory.recent(TASK, 5)) == [1]


def test_tasks_are_told_apart_and_in_words(tmp_path: Path):
    memory = EpisodeMemory(tmp_path / "attempts.jsonl")
    memory.add([attempt(1), attempt(2, OTHER), attempt(3)])
    assert memory.told([TASK, OTHER], 1) == {TASK: (attempt(3).in_words(),), OTHER: (attempt(2, OTHER).in_words(),)}


def test_an_attempt_in_words():
    assert attempt(7).in_words() == "failed after 7 steps, told to 'lower': the soup is on the floor"


def test_a_file_that_cannot_be_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HoneError, match="cannot keep attempts"):
        EpisodeMemory(tmp_path / "file" / "attempts.jsonl")


def test_a_disk_that_is_full_does_not_stop_the_run(tmp_path: Path, monkeypatch, caplog):
    memory = EpisodeMemory(tmp_path / "attempts.jsonl")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    memory.add([attempt(1)])
    assert "no space left" in caplog.text


def add_for_ever(path: Path) -> None:
    memory, number = EpisodeMemory(path), 0
    while True:
        memory.add([attempt(number)])
        number += 1


def test_kill_9_while_writing_loses_at_most_the_attempt_being_written(tmp_path: Path):
    path = tmp_path / "attempts.jsonl"
    writer = multiprocessing.get_context("fork").Process(target=add_for_ever, args=(path,), daemon=True)
    writer.start()
    until = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size > 2000) and time.monotonic() < until:
        time.sleep(0.01)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    memory = EpisodeMemory(path)
    found = steps(memory.recent(TASK, 10_000))
    assert found == list(range(len(found) - 1, -1, -1))  # every one of them, in order
    memory.add([attempt(-1)])
    assert steps(memory.recent(TASK, 1)) == [-1]
