"""Grasp search on shapes whose right grasp is known."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import BIN, BRICK, box, upright

from hone.envs.libero.facts import Box, Pose
from hone.primitives.grasps import (
    HAND_ABOVE_M,
    PAD_REACH_M,
    GraspSearch,
    corners,
    downward,
    find_grasps,
    lowest_clear_height,
    nearest_yaw,
    opening_yaw,
    point_cloud,
    skyline,
    unlike,
)

NOWHERE = np.zeros((0, 3))
BASE, GOAL = np.array([-0.6, 0.0, 0.0]), np.array([-0.1, 0.0, 0.0])
ALONG_Y = np.pi / 2


def best(boxes, obstacles=NOWHERE, yaw=ALONG_Y, at=(0.0, 0.0, 0.03), goal=GOAL):
    cloud = point_cloud(boxes, upright(*at))
    return next(find_grasps(cloud, np.array(at), obstacles, yaw, BASE, goal))


def ring(radius: float, walls: int = 16) -> tuple[Box, ...]:
    """An upright thin wall around a circle."""
    boxes = []
    for k in range(walls):
        angle = 2 * np.pi * k / walls
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        half = np.array([0.001, radius * np.tan(np.pi / walls), 0.02])
        boxes.append(Box(turn @ np.array([radius, 0, 0]), turn, half))
    return tuple(boxes)


def test_a_cloud_fills_its_boxes_to_the_corners():
    cloud = point_cloud(BRICK, upright(1.0, 2.0, 3.0)) - [1.0, 2.0, 3.0]
    assert np.allclose(cloud.max(0), [0.02, 0.02, 0.03])
    assert np.allclose(cloud.min(0), [-0.02, -0.02, -0.03])
    assert len(np.unique(np.round(cloud, 6), axis=0)) == len(cloud)


def test_downward_is_a_rotation_that_opens_along_its_yaw():
    for yaw in np.linspace(-3, 3, 7):
        rotation = downward(yaw)
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.isclose(np.linalg.det(rotation), 1.0)
        assert np.isclose(opening_yaw(rotation), yaw)
        assert np.allclose(rotation[:, 2], [0, 0, -1])


def test_fingers_are_alike_so_a_half_turn_is_never_needed():
    assert np.isclose(nearest_yaw(np.pi, 0.1), 0.0)
    assert np.isclose(nearest_yaw(-np.pi / 2, np.pi / 2), np.pi / 2)


def test_a_brick_is_taken_in_the_middle_without_turning():
    for yaw in (0.0, ALONG_Y):
        grasp = best(BRICK, yaw=yaw)
        assert np.allclose(grasp.position, [0.0, 0.0, 0.04], atol=1e-6)
        assert np.isclose(nearest_yaw(grasp.yaw, yaw), yaw)
        assert np.isclose(grasp.width, 0.04)


def test_a_slightly_turned_start_does_not_change_the_grasp():
    assert best(BRICK, yaw=ALONG_Y + 0.03).yaw == best(BRICK, yaw=ALONG_Y - 0.03).yaw


def test_neighbours_turn_the_hand():
    walls = point_cloud(
        (box((0.05, 0.002, 0.03), (0, 0.055, 0)), box((0.05, 0.002, 0.03), (0, -0.055, 0))), upright(0, 0, 0.03)
    )
    grasp = best(BRICK, walls)
    assert abs(np.sin(grasp.yaw)) < 0.5  # opens along x, between the walls


def test_what_is_too_wide_or_walled_in_has_no_grasp():
    wide = point_cloud((box((0.05, 0.05, 0.03)),), upright(0, 0, 0.03))
    assert list(find_grasps(wide, np.zeros(3), NOWHERE, ALONG_Y, BASE, GOAL)) == []
    cloud = point_cloud(BRICK, upright(0, 0, 0.03))
    pit = point_cloud(ring(0.055), upright(0, 0, 0.03))
    assert list(find_grasps(cloud, np.zeros(3), pit, ALONG_Y, BASE, GOAL)) == []


def test_a_wide_ring_is_pinched_at_its_wall_and_squarely():
    grasp = best(ring(0.05), at=(0.0, 0.0, 0.02))
    outward = grasp.offset[:2] / np.linalg.norm(grasp.offset[:2])
    opening = downward(grasp.yaw)[:2, 0]
    assert np.isclose(np.linalg.norm(grasp.offset[:2]), 0.05, atol=0.003)
    assert abs(outward @ opening) > 0.98
    assert grasp.width < 0.01
    assert grasp.offset[1] < 0  # of the two mirrored ones, always the same


def test_far_from_the_base_the_near_side_is_taken():
    at = (0.2, 0.0, 0.02)  # 80 cm from the base: the arm is straight
    assert best(ring(0.05), at=at).offset[0] < -0.02
    assert best(ring(0.05), at=(0.0, 0.0, 0.02), goal=np.array(at)).offset[0] < -0.02


def test_the_table_limits_the_depth():
    flat = (box((0.02, 0.02, 0.008)),)
    grasp = best(flat, at=(0.0, 0.0, 0.008))
    assert np.isclose(grasp.position[2], GraspSearch().table_clearance)


def test_skyline_keeps_the_top_of_every_column():
    points = np.array([[0.0, 0.0, 0.1], [0.001, 0.0, 0.3], [0.5, 0.0, 0.2]])
    assert sorted(skyline(points)[:, 2]) == [0.2, 0.3]


def test_the_rim_of_a_bin_stops_the_hand():
    rim = 0.105
    height = lowest_clear_height(point_cloud(BIN, upright(0, 0, 0.005)), np.zeros(3), 0.0, 0.04, margin=0.0)
    assert height == pytest.approx(rim - HAND_ABOVE_M)
    assert lowest_clear_height(NOWHERE, np.zeros(3), 0.0, 2 * PAD_REACH_M) == -np.inf


def test_tried_grasps_are_left_out():
    grasps = list(find_grasps(point_cloud(BRICK, upright(0, 0, 0.03)), np.zeros(3), NOWHERE, ALONG_Y, BASE, GOAL))
    others = list(unlike(grasps, grasps[:1]))
    assert others
    assert all(other is not grasps[0] for other in others)
    assert list(unlike(grasps, grasps)) == []


@pytest.mark.parametrize(
    "boxes", [BIN, (), (Box(np.array([0.1, 0.0, 0.2]), downward(0.4), np.array([0.01, 0.02, 0.03])),)]
)
def test_corners_are_the_coarsest_cloud(boxes):
    pose = Pose(np.array([0.3, -0.1, 0.9]), downward(1.1))
    np.testing.assert_array_equal(corners(boxes, pose), point_cloud(boxes, pose, spacing=np.inf))
