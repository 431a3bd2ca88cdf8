import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies.observations import camera_images, conditioned_sentences, jittered, random_shift
from hone.specs import Spec
from hone.types import Observation

SPEC = Spec(cameras=("front", "hand"), image_size=6)


def make_observation(shape: tuple[int, ...] = (2, 2, 6, 6, 3), hints: tuple[str, ...] | None = None) -> Observation:
    images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    return Observation(np.zeros((2, 8), np.float32), ("open it", "close it"), images, hints=hints)


def test_sentences_carry_the_hint():
    assert conditioned_sentences(make_observation()) == ["open it", "close it"]
    assert conditioned_sentences(make_observation(hints=("from the left", ""))) == ["open it from the left", "close it"]


def test_cameras_come_apart_in_order_without_a_copy():
    observation = make_observation()
    assert observation.images is not None
    front, hand = camera_images(observation, SPEC)
    np.testing.assert_array_equal(hand.numpy(), observation.images[:, 1])
    assert np.shares_memory(front.numpy(), observation.images)
    with pytest.raises(HoneError, match=r"needs images \(2, 2, 6, 6, 3\) \(cameras front, hand\), but got \(2, 1, 6"):
        camera_images(make_observation((2, 1, 6, 6, 3)), SPEC)


def test_random_shift_moves_the_whole_image_and_repeats_its_border():
    image = torch.zeros(300, 9, 9, 3, dtype=torch.uint8)
    image[:, 4, 4] = 255
    image[:, :, 0, 1] = 99  # a green left border
    shifted = random_shift(image, 2, torch.Generator().manual_seed(0))
    rows, columns = shifted[..., 0].flatten(1).argmax(1) // 9, shifted[..., 0].flatten(1).argmax(1) % 9
    assert sorted(set(rows.tolist())) == sorted(set(columns.tolist())) == [2, 3, 4, 5, 6]
    assert len({*zip(rows.tolist(), columns.tolist(), strict=True)}) == 25  # both directions, independently
    # An image moved right by n has n more columns of its left border.
    right = columns - 4
    green = (shifted[:, 0, :, 1] == 99).sum(1)
    assert torch.equal(green, (1 + right).clamp(min=0))
    assert torch.equal(random_shift(image, 0, None), image)


def test_jitter_has_the_stated_scale():
    noisy = jittered(torch.ones(2000, 10), 0.1, torch.Generator().manual_seed(0))
    # 20000 draws: standard error of the scale 0.0005, of the mean 0.0007.
    assert abs(noisy.std().item() - 0.1) < 0.002
    assert abs(noisy.mean().item() - 1) < 0.003
    with pytest.raises(HoneError, match="generator"):
        jittered(torch.ones(1, 1), 0.1, None)
