"""LIBERO's measures on three tasks, by hand."""

import numpy as np
import pytest

from hone.evaluation.lifelong import area_under_curve, forward_transfer, negative_backward_transfer

CURVES = np.array([[0.0, 0.8, 0.6], [0.2, 0.2, 0.5], [0.1, 0.7, 0.7]])
NAN = float("nan")
LATER = np.array([[NAN, NAN, NAN], [0.6, NAN, NAN], [0.2, 0.9, NAN]])
"""After the second task the first has 0.6; after the third the first has 0.2 and the second 0.9."""


def test_forward_transfer_is_the_mean_of_the_curves_held_at_their_best():
    # (0 + .8 + .8)/3 = 1.6/3, (.2 + .2 + .5)/3 = .9/3, (.1 + .7 + .7)/3 = 1.5/3
    assert forward_transfer(CURVES) == pytest.approx((1.6 + 0.9 + 1.5) / 9)


def test_backward_transfer_is_what_was_lost_of_the_best():
    # first: .8 - (.6 + .2)/2 = .4; second: .5 - .9 = -.4, which is a gain
    assert negative_backward_transfer(CURVES, LATER) == pytest.approx((0.4 - 0.4) / 2)
    assert negative_backward_transfer(CURVES[:2], LATER[:2, :2]) == pytest.approx(0.8 - 0.6)


def test_the_area_goes_on_from_learning_to_the_end():
    # first: (1.6/3 + .6 + .2)/3; second: (.9/3 + .9)/2; third: 1.5/3
    expected = ((1.6 / 3 + 0.8) / 3 + (0.3 + 0.9) / 2 + 0.5) / 3
    assert area_under_curve(CURVES, LATER) == pytest.approx(expected)


def test_who_learns_at_once_and_forgets_nothing_has_one_zero_one():
    curves, later = np.ones((4, 5)), np.ones((4, 4))
    assert forward_transfer(curves) == area_under_curve(curves, later) == 1.0
    assert negative_backward_transfer(curves, later) == 0.0


def test_one_task_has_nothing_after_it():
    assert np.isnan(negative_backward_transfer(CURVES[:1], LATER[:1, :1]))
    assert area_under_curve(CURVES[:1], LATER[:1, :1]) == forward_transfer(CURVES[:1])
