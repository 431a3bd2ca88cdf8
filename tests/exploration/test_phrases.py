"""Motion phrases: what a window of actions is called, and that the words mean one thing."""

from __future__ import annotations

import numpy as np
import pytest

from hone.errors import HoneError
from hone.exploration.phrases import (
    AXES,
    VOCABULARY,
    actions_of,
    check_phrase,
    fingers_of,
    phrase_of,
    random_phrase,
    relabel,
)


def window(motion: tuple[float, ...], gripper: tuple[float, ...]) -> np.ndarray:
    return np.column_stack([np.tile(motion, (len(gripper), 1)), gripper]).astype(float)


OPEN, SHUT = (-1.0,) * 8, (1.0,) * 8


@pytest.mark.parametrize(
    ("motion", "gripper", "phrase"),
    [
        ((0, 0, 0, 0, 0, 0), OPEN, "stay, keep the gripper open"),
        ((0, -0.15, -0.6, 0, 0, 0), OPEN, "move slightly left, lower far, keep the gripper open"),
        ((0.3, 0.05, 0, 0, 0, 0), SHUT, "move forward, move a touch right, keep the gripper closed"),
        ((0, 0, 0.1, 0, 0, -0.2), SHUT, "raise slightly, turn right, keep the gripper closed"),
        ((0, 0, 0, 0.3, 0.05, 0), OPEN, "tilt far left, tilt a touch forward, keep the gripper open"),
        ((0, 0, 0, 0, 0, 0), (-1, -1, 1, 1), "stay, close the gripper"),
        ((0, 0, 0.1, 0, 0, 0), (1, -1, -1, -1), "raise slightly, open the gripper"),
    ],
)
def test_a_window_is_named_by_its_mean_motion_and_its_fingers(motion, gripper, phrase):
    assert phrase_of(window(motion, gripper)) == phrase


def test_motion_within_a_window_adds_up():
    there_and_back = np.zeros((8, 7))
    there_and_back[:4, 0], there_and_back[4:, 0] = 0.5, -0.5
    assert phrase_of(there_and_back).startswith("stay")


def test_a_phrase_and_its_motion_name_each_other():
    for seed in range(200):
        phrase = check_phrase(random_phrase(np.random.default_rng(seed)))
        assert phrase_of(actions_of(phrase, 8)) == phrase


def test_opposite_words_are_opposite_motions():
    for axis, (negative, positive, _) in enumerate(AXES):
        down, up = (
            actions_of(f"{' '.join(words.format('').split())}, keep the gripper open", 4)[0]
            for words in (negative, positive)
        )
        assert down[axis] < 0 < up[axis]
        assert down[axis] == -up[axis]


def test_every_step_of_a_demonstration_gets_the_phrase_of_its_own_window():
    actions = np.zeros((5, 7))
    actions[:, 6] = [-1, -1, -1, 1, 1]
    assert relabel(actions, 2) == (
        "stay, keep the gripper open",
        "stay, keep the gripper open",
        "stay, close the gripper",
        "stay, keep the gripper closed",
        "stay, keep the gripper closed",
    )


def test_the_vocabulary_has_no_word_twice():
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 6 * 2 * 4 + 1 + 4


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("jump, keep the gripper open", "'jump' is no clause"),
        ("move left, move far right, keep the gripper open", "two things about one motion"),
        ("move left", "does not say what the gripper does"),
        ("stay, lower, keep the gripper open", "to stay and to move"),
    ],
)
def test_what_is_no_phrase_is_refused(phrase, message):
    with pytest.raises(HoneError, match=message):
        check_phrase(phrase)


def test_an_empty_window_has_no_phrase():
    with pytest.raises(HoneError, match="empty window"):
        phrase_of(np.zeros((0, 7)))


@pytest.mark.parametrize(
    ("clause", "fingers"),
    [
        ("open the gripper", [1.0, -1.0, -1.0, -1.0]),
        ("close the gripper", [-1.0, 1.0, 1.0, 1.0]),
        ("keep the gripper open", [-1.0] * 4),
        ("keep the gripper closed", [1.0] * 4),
    ],
)
def test_fingers_do_as_they_are_told_at_once(clause: str, fingers: list[float]):
    assert fingers_of(f"raise, {clause}", 4).tolist() == fingers
    assert fingers_of(f"raise, {clause}", 1).tolist() == fingers[-1:]
