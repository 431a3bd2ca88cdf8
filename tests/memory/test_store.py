import json
import logging
import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from hone.errors import HoneError
from hone.memory import store as store_module
from hone.memory.store import Entry, EntryStore, least_worth


def entry(
    task: str = "task", success: float = 0.5, angle: float = 0.0, key: str = "base", written_at: float = 0.0
) -> Entry:
    """An entry whose embedding points at `angle` degrees, so that similarities are cosines one can see."""
    embedding = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))], np.float32)
    return Entry(key, "suite", task, f"do {task}", embedding, success, 10, written_at=written_at)


def delta(value: float) -> dict[str, torch.Tensor]:
    return {"head.weight": torch.full((64, 64), value)}


def value_of(store: EntryStore, kept: Entry) -> float:
    loaded = store.delta(kept)
    assert loaded is not None
    return float(loaded["head.weight"].mean())


def test_what_was_stored_is_read_back_by_another_reader(tmp_path: Path):
    kept = EntryStore(tmp_path).put(entry(success=0.75), delta(0.5))
    reader = EntryStore(tmp_path)
    (found,) = reader.entries()
    assert found.id == kept.id
    assert (found.task, found.instruction, found.success, found.history) == ("task", "do task", 0.75, (0.75,))
    assert np.array_equal(found.embedding, kept.embedding)
    assert value_of(reader, found) == 0.5


def test_the_folder_is_private(tmp_path: Path):
    folder = tmp_path / "memory"
    EntryStore(folder).put(entry(), delta(0.5))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "entries")] == [0o700, 0o700]


def test_of_one_task_the_best_is_kept_with_the_history_of_all(tmp_path: Path):
    store = EntryStore(tmp_path)
    for success, value in ((0.6, 1.0), (0.9, 2.0), (0.3, 3.0), (0.9, 4.0)):
        store.put(entry(success=success), delta(value))
    (found,) = store.entries()
    assert found.history == (0.6, 0.9, 0.3, 0.9)
    assert (found.success, value_of(store, found)) == (0.9, 4.0)  # of equals the latest


def test_the_same_task_from_another_base_is_another_entry(tmp_path: Path):
    store = EntryStore(tmp_path)
    store.put(entry(key="one"), delta(1.0))
    store.put(entry(key="two"), delta(2.0))
    assert [found.key for found in store.entries()] == ["one", "two"]


def test_a_full_store_loses_what_its_neighbour_covers(tmp_path: Path):
    store = EntryStore(tmp_path, capacity=3)
    for task, success, angle in (("far", 0.4, 90), ("near", 0.8, 0), ("nearer", 0.9, 5), ("hopeless", 0.0, 45)):
        store.put(entry(task, success, angle), delta(1.0))
    assert [found.task for found in store.entries()] == ["far", "near", "nearer"]  # success 0 is worth nothing
    store.put(entry("farther", 0.4, 140), delta(1.0))
    # near 0.8 (1 - cos 5) = 0.003 and nearer 0.9 (1 - cos 5) = 0.0034 are worth less than far 0.4 (1 - cos 50) = 0.14
    assert [found.task for found in store.entries()] == ["far", "nearer", "farther"]


def test_entries_of_other_bases_leave_first_and_the_oldest_of_them():
    entries = [entry("a", 1.0, 0, "old", 2.0), entry("b", 1.0, 90, "old", 1.0), entry("c", 0.0, 0, "new", 3.0)]
    assert least_worth(entries, entries[2]).task == "b"


def test_of_equal_worth_the_less_successful_leaves_then_the_older():
    twins = [entry("a", 0.9, 0, written_at=1.0), entry("b", 0.8, 0, written_at=2.0), entry("c", 0.8, 0, written_at=3.0)]
    assert least_worth(twins, twins[0]).task == "b"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "not an entry"])
def test_a_damaged_entry_is_refused_once_and_the_others_are_read(tmp_path: Path, damage: str, caplog):
    store = EntryStore(tmp_path)
    bad, good = store.put(entry("bad"), delta(1.0)), store.put(entry("good"), delta(2.0))
    path = tmp_path / "entries" / f"{bad.id}.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-5]
    elif damage == "flipped":
        content[-1] ^= 1
    elif damage == "empty":
        content = bytearray()
    else:
        content = bytearray(safetensors.torch.save({"embedding": torch.zeros(2)}))
    path.write_bytes(content)
    reader = EntryStore(tmp_path)
    sound: list[list[str]] = []
    with caplog.at_level(logging.WARNING):
        sound = [[found.task for found in reader.entries() if reader.delta(found) is not None] for _ in range(2)]
    assert sound == [["good"], ["good"]]
    assert len(caplog.records) == 1
    assert bad.id in caplog.text
    assert value_of(reader, good) == 2.0


@pytest.mark.parametrize("field", [{"success": "much"}, {"success": 7.0}, {"history": 3}, {"written_at": "today"}, {}])
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, field: dict, caplog):
    header = {"key": "base", "suite": "suite", "task": "t", "instruction": "i", "iterations": 1, "details": {}}
    header |= {"success": 0.5, "history": [0.5], "written_at": 0.0} | field if field else {}
    metadata = {"format": store_module.FORMAT, "entry": json.dumps(header)}
    content = safetensors.torch.save({"embedding": torch.zeros(2)}, metadata=metadata)
    store = EntryStore(tmp_path)
    (tmp_path / "entries" / "bad.safetensors").write_bytes(content)
    assert store.entries() == []
    assert "bad.safetensors' is not used" in caplog.text


def test_an_entry_evicted_while_it_is_read_is_not_an_error(tmp_path: Path, caplog):
    store = EntryStore(tmp_path)
    kept = store.put(entry(), delta(1.0))
    (tmp_path / "entries" / f"{kept.id}.safetensors").unlink()
    assert store.delta(kept) is None
    assert not caplog.records


def test_a_second_writer_waits_and_then_gives_up_with_one_line(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(store_module, "LOCK_TIMEOUT_S", 0.1)
    first, second = EntryStore(tmp_path), EntryStore(tmp_path)
    with first._writing(), pytest.raises(HoneError, match="another process has been writing"):
        second.put(entry(), delta(1.0))
    second.put(entry(), delta(1.0))


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HoneError, match="cannot keep a memory in"):
        EntryStore(tmp_path / "file")
    with pytest.raises(HoneError, match="capacity is 0"):
        EntryStore(tmp_path, capacity=0)


def write_for_ever(folder: Path, ready) -> None:
    store = EntryStore(folder, capacity=5)
    number = 0
    while True:
        store.put(entry(f"task {number % 7}", 0.5, 10.0 * (number % 7)), delta(float(number)))
        number += 1
        if number == 8:
            ready.set()


def start_writer(folder: Path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    writer = context.Process(target=write_for_ever, args=(folder, ready), daemon=True)
    writer.start()
    assert ready.wait(30)
    return writer


def test_readers_see_whole_entries_while_another_process_writes(tmp_path: Path, caplog):
    writer = start_writer(tmp_path)
    reader, seen, until = EntryStore(tmp_path), set(), time.monotonic() + 1.0
    while time.monotonic() < until:
        for found in reader.entries():
            loaded = reader.delta(found)
            if loaded is not None:
                assert len(loaded["head.weight"].unique()) == 1  # never half of one and half of another
                seen.add(found.id)
    writer.kill()
    writer.join()
    assert len(seen) > 5
    assert not caplog.records


@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.01, 0.021])
def test_kill_9_while_writing_loses_at_most_the_entry_being_written(tmp_path: Path, after_s: float, caplog):
    writer = start_writer(tmp_path)
    time.sleep(after_s)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    store = EntryStore(tmp_path, capacity=5)
    assert 4 <= len(store.entries()) <= 7  # five, and at most what was replaced or to be evicted when it died
    assert all(store.delta(found) is not None for found in store.entries())
    store.put(entry("after", 1.0, 200.0), delta(1.0))  # the lock died with its holder
    assert "after" in [found.task for found in store.entries()]
    assert len(store.entries()) == 5
    assert not list((tmp_path / "entries").glob(".*"))
    assert not caplog.records


def die_before_the_rename(folder: Path) -> None:
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    EntryStore(folder).put(entry("lost"), delta(2.0))


def test_kill_9_between_writing_and_renaming_loses_that_entry_alone(tmp_path: Path, caplog):
    store = EntryStore(tmp_path)
    kept = store.put(entry("kept"), delta(1.0))
    writer = multiprocessing.get_context("fork").Process(target=die_before_the_rename, args=(tmp_path,))
    writer.start()
    writer.join(30)
    assert writer.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "entries").iterdir())) == 2  # the leftover has another name
    assert [found.task for found in EntryStore(tmp_path).entries()] == ["kept"]
    assert value_of(store, kept) == 1.0
    assert not caplog.records
