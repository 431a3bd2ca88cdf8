import math

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies.inputs import Normalizer, object_features, rotation_6d, state_floors
from hone.policies.small import SmallPolicyConfig
from hone.specs import Spec


def test_rotation_6d_is_the_first_two_columns_of_the_matrix_exponential():
    axis_angle = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    x, y, z = axis_angle.double().unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    matrix = torch.linalg.matrix_exp(skew)
    expected = torch.cat([matrix[:, :, 0], matrix[:, :, 1]], dim=-1)
    torch.testing.assert_close(rotation_6d(axis_angle), expected.float(), atol=1e-5, rtol=0)


def test_rotation_6d_is_continuous_where_axis_angle_flips():
    just_below = torch.tensor([[math.pi - 1e-3, 0.0, 0.0]])
    just_above = torch.tensor([[-(math.pi - 1e-3), 0.0, 0.0]])  # the same turn, 0.002 rad further
    assert (rotation_6d(just_below) - rotation_6d(just_above)).abs().max() < 3e-3
    identity = rotation_6d(torch.zeros(1, 3))
    torch.testing.assert_close(identity, torch.tensor([[1.0, 0, 0, 0, 1, 0]]))


def make_tokens(seed: int = 0) -> torch.Tensor:
    tokens = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(seed))
    tokens[..., 9] = torch.tensor([0.0, 2, 0, 1, 0])
    tokens[..., 10] = 1
    return tokens


def test_object_features_pick_the_objects_of_interest():
    tokens, eef = make_tokens(), torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.0, 1.0]])
    features = object_features(tokens, eef)
    torch.testing.assert_close(features[:, :9], tokens[:, 3, :9])
    torch.testing.assert_close(features[:, 9], torch.ones(2))
    torch.testing.assert_close(features[:, 10:13], tokens[:, 3, :3] - eef)
    torch.testing.assert_close(features[:, 13:22], tokens[:, 1, :9])
    others = tokens[:, [0, 2, 4], :3].mean(1)
    torch.testing.assert_close(features[:, 26:], torch.cat([others, others - eef, torch.ones(2, 1)], -1))


def test_object_features_ignore_order_padding_and_absence():
    tokens, eef = make_tokens(), torch.zeros(2, 3)
    features = object_features(tokens, eef)
    torch.testing.assert_close(object_features(tokens[:, [4, 3, 0, 1, 2]], eef), features)
    padded = torch.cat([tokens, torch.zeros(2, 3, 11)], dim=1)
    torch.testing.assert_close(object_features(padded, eef), features)
    tokens[:, 1, 10] = 0  # the second object of interest is not there
    assert not object_features(tokens, eef + 1)[:, 13:26].any()


def test_the_second_layout_tells_four_objects_apart_and_how_far_they_are_open():
    tokens, eef = torch.cat([make_tokens(), torch.rand(2, 5, 1)], dim=-1), torch.zeros(2, 3)
    tokens[..., 9] = torch.tensor([3.0, 2, 4, 1, 2])  # two rows at the second place: the drawers of a cabinet
    features = object_features(tokens, eef)
    assert features.shape == (2, len(state_floors(Spec(state_tokens="objects_v2"))))
    first, second, third, fourth, others = features.split([14, 14, 14, 14, 7], dim=1)
    for part, row in ((first, 3), (third, 0), (fourth, 2)):
        torch.testing.assert_close(part[:, :9], tokens[:, row, :9])
        torch.testing.assert_close(part[:, 9], tokens[:, row, 11])
    torch.testing.assert_close(second[:, 9], tokens[:, [1, 4], 11].mean(1))
    assert not others.any()


def test_an_unknown_layout_is_refused():
    with pytest.raises(HoneError, match=r"objects_v3.*objects_v1"):
        SmallPolicyConfig(inputs="state", state_tokens="objects_v3").build()


def test_normalizer_standardises_floors_and_clamps():
    rng = np.random.default_rng(0)
    data = torch.tensor(rng.normal([1.0, 5.0, 0.0], [2.0, 1e-6, 0.5], size=(500, 3)), dtype=torch.float32)
    normalizer = Normalizer((0.01, 0.01, 0.1))
    with pytest.raises(HoneError, match="fit_normalization"):
        normalizer(data)
    normalizer.fit(data)
    result = normalizer(data)
    torch.testing.assert_close(result[:, [0, 2]].std(0), torch.ones(2), atol=1e-2, rtol=0)
    # A constant feature that moves by 1 mm is not blown up into a thousand standard deviations.
    assert float(normalizer(torch.tensor([[1.0, 5.001, 0.0]]))[0, 1]) == pytest.approx(0.1, abs=1e-2)
    assert float(normalizer(torch.tensor([[99.0, 5.0, 0.0]]))[0, 0]) == 5.0
    with pytest.raises(HoneError, match="finite"):
        normalizer.fit(torch.full((3, 3), float("nan")))
