from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from witnessed import PLAN, Asked, Witnessed, expert_episode

from hone.errors import HoneError
from hone.rewards.detectors import Delayed, DetectorConfig, Noisy, Wrong, milestone_quality, quality
from hone.rewards.planned import from_plan
from hone.rewards.scoring import Detector, exact, score_sightings, sight

GOOD, BAD = expert_episode(), expert_episode(slippery=True)
PROGRAM = from_plan(PLAN, GOOD[0])


def test_without_defect_they_are_exact():
    for detector in (Noisy(0.0, 0), Delayed(0), DetectorConfig().build()):
        assert isinstance(detector, Detector)
        seen = detector(PROGRAM, Witnessed(GOOD))
        assert np.array_equal(seen.done, sight(PROGRAM, GOOD).done)


def test_noise_turns_verdicts_round_at_its_rate_and_is_the_same_each_time():
    sightings = sight(PROGRAM, BAD)
    noisy, truth = Noisy(0.2, seed=3, inner=lambda program, trajectory: sightings), sightings.done.any(axis=0)
    turned = []
    for number in range(400):
        episode = Witnessed(BAD, Asked(number))
        seen = noisy(PROGRAM, episode).done
        assert np.array_equal(seen, noisy(PROGRAM, episode).done)
        turned.append(seen.any(axis=0) != truth)
    # 2400 draws of probability 0.2: standard error 0.008
    assert np.mean(turned) == pytest.approx(0.2, abs=0.03)
    assert np.mean(turned, axis=0).min() > 0.1


def test_a_delayed_detector_misses_the_end():
    exactly = score_sightings(PROGRAM, exact(PROGRAM, Witnessed(GOOD)))
    late = score_sightings(PROGRAM, Delayed(1)(PROGRAM, Witnessed(GOOD)))
    assert late.reached == tuple(look + 1 for look in exactly.reached if look is not None)
    cut = Witnessed(GOOD[: (exactly.succeeded_at or 0) + 1])
    assert not score_sightings(PROGRAM, Delayed(1)(PROGRAM, cut)).succeeded


def test_a_wrong_detector_takes_held_for_delivered():
    held = Witnessed((GOOD[0], *(f for f in GOOD if frozenset(("brick", "robot")) in f.contacts)))
    assert score_sightings(PROGRAM, Wrong(3)(PROGRAM, held)).succeeded
    assert not score_sightings(PROGRAM, exact(PROGRAM, held)).succeeded
    assert not score_sightings(PROGRAM, Wrong(3)(PROGRAM, Witnessed(BAD))).succeeded


def test_a_learned_detector_fits_the_seam():
    """One that guesses from how long the episode has lasted, and sees no facts."""

    def by_the_clock(program, trajectory):
        looks = len(trajectory.executed) + 1
        share = np.linspace(0.0, 1.0, looks)[:, None] * np.ones(len(program))
        return replace(exact(program, trajectory), done=share >= 0.9, left=1.0 - share)

    assert isinstance(by_the_clock, Detector)
    assert score_sightings(PROGRAM, by_the_clock(PROGRAM, Witnessed(BAD))).succeeded


def test_precision_and_recall_by_hand():
    found = quality([True, True, True, False, False], [True, False, True, True, False])
    assert (found.precision, found.recall) == (2 / 3, 2 / 3)
    assert quality([False], [False]).precision is None
    one = score_sightings(PROGRAM, exact(PROGRAM, Witnessed(GOOD)))
    none = replace(one, reached=(None,) * 6)
    (first, *_) = milestone_quality([one, one, none], [one, none, one])
    assert (first.precision, first.recall) == (0.5, 0.5)


def test_bad_settings():
    with pytest.raises(HoneError, match=r"detector.flip is 1.5"):
        DetectorConfig(flip=1.5)
    with pytest.raises(HoneError, match="early 0"):
        DetectorConfig(early=0)
