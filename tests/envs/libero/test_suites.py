"""The suites: names, order, instructions, step caps, BDDL files, stored initial states; all without robosuite."""

import subprocess
import sys

import numpy as np
import pytest

from hone.envs.libero import suites
from hone.errors import HoneError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    suites.official_initial_states.cache_clear()
    yield
    suites.official_initial_states.cache_clear()


@pytest.mark.parametrize(
    ("suite", "count"),
    [("libero_spatial", 10), ("libero_object", 10), ("libero_goal", 10), ("libero_10", 10), ("libero_90", 90)],
)
def test_every_suite_lists_its_tasks_in_order(suite, count):
    listed = suites.tasks(suite)
    assert [task.index for task in listed] == list(range(count))
    assert len({task.name for task in listed}) == count
    assert all(suites.bddl_file(task).is_file() for task in listed)


def test_order_and_instructions_are_the_benchmarks():
    assert suites.task("libero_object", 0).instruction == "pick up the alphabet soup and place it in the basket"
    assert suites.task("libero_object", 9).instruction == "pick up the orange juice and place it in the basket"
    assert (
        suites.task("libero_spatial", 5).instruction
        == "pick up the black bowl on the ramekin and place it on the plate"
    )
    assert suites.task("libero_goal", 7).instruction == "turn on the stove"
    # Names of LIBERO-100 start with a scene, of one or two digits, which is no part of the instruction.
    assert suites.task("libero_90", 5).name.startswith("KITCHEN_SCENE10_put_the_chocolate_pudding")
    assert suites.task("libero_90", 5).instruction.startswith("put the chocolate pudding in the top drawer")
    assert suites.task("libero_10", 0).instruction.startswith("put both the alphabet soup and the tomato sauce")


def test_step_caps_are_those_of_published_scores():
    caps = {suite: suites.step_cap(suite) for suite in suites.SUITES}
    assert caps == {"libero_spatial": 280, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}


def test_a_task_is_found_by_index_digits_or_name():
    task = suites.task("libero_object", 7)
    assert task.name == "pick_up_the_milk_and_place_it_in_the_basket"
    assert suites.task("libero_object", "7") == task
    assert suites.task("libero_object", task.name) == task


def test_unknown_names_say_what_exists():
    with pytest.raises(HoneError, match=r"unknown suite 'libero_objct'\. Did you mean 'libero_object'"):
        suites.tasks("libero_objct")
    with pytest.raises(HoneError, match="Did you mean 'pick_up_the_milk_and_place_it_in_the_basket'"):
        suites.task("libero_object", "pick_up_the_milk_and_place_it_in_basket")
    with pytest.raises(HoneError, match="has tasks 0-9, not 10"):
        suites.task("libero_object", 10)
    with pytest.raises(HoneError, match="has tasks 0-9, not -1"):
        suites.task("libero_object", -1)


def test_initial_states_are_converted_once_to_a_plain_array(tmp_path):
    task = suites.task("libero_spatial", 3)
    states = suites.official_initial_states(task)
    assert states.shape == (50, 92)
    assert states.dtype == np.float64
    assert np.isfinite(states).all()
    assert not states.flags.writeable
    (stored,) = (tmp_path / "cache" / "initial_states").iterdir()
    np.testing.assert_array_equal(np.load(stored, allow_pickle=False), states)


def test_a_damaged_cached_array_is_made_again(tmp_path, caplog):
    task = suites.task("libero_object", 1)
    states = suites.official_initial_states(task)
    (stored,) = (tmp_path / "cache" / "initial_states").iterdir()
    stored.write_bytes(stored.read_bytes()[:1000])
    suites.official_initial_states.cache_clear()
    np.testing.assert_array_equal(suites.official_initial_states(task), states)
    assert "damaged" in caplog.text


def test_listing_tasks_imports_neither_robosuite_nor_torch():
    code = (
        "import sys; from hone.envs.libero import suites; suites.tasks('libero_90'); suites.task('libero_10', 3);"
        "print([name for name in ('robosuite', 'torch', 'mujoco', 'libero.libero') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_missing_hf_libero_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    suites.hf.libero_root.cache_clear()
    suites.tasks.cache_clear()
    try:
        with pytest.raises(HoneError, match=r"pip install --no-deps hf-libero==0\.1\.4"):
            suites.tasks("libero_object")
    finally:
        suites.hf.libero_root.cache_clear()
