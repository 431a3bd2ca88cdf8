import torch
from toy_policies import LinearGaussianPolicy

from hone.memory.deltas import add_to, base_key, difference, fault_in, trained_names, weighted_mean, weights_of


def practised(change: float) -> tuple[LinearGaussianPolicy, dict[str, torch.Tensor]]:
    """A policy whose encoder is frozen and whose head was moved, with the weights it came from."""
    policy = LinearGaussianPolicy()
    policy.train_encoder = False
    base = weights_of(policy)
    with torch.no_grad():
        policy.head.linear.weight += change
    return policy, base


def test_a_delta_is_what_practice_added_to_the_trained_parameters():
    policy, base = practised(0.25)
    delta = difference(policy, base)
    assert sorted(delta) == sorted(trained_names(policy)) == ["head.linear.bias", "head.linear.weight"]
    assert (delta["head.linear.weight"] == 0.25).all()
    assert (delta["head.linear.bias"] == 0).all()


def test_base_plus_delta_is_what_was_practised_and_stored_features_become_stale():
    policy, base = practised(0.25)
    fresh = LinearGaussianPolicy()
    add_to(fresh, difference(policy, base))
    for name, tensor in weights_of(fresh).items():
        assert torch.equal(tensor, weights_of(policy)[name]), name
    assert fresh.features_version == 1


def test_the_weighted_mean_equals_the_one_computed_by_hand():
    deltas = [{"w": torch.tensor([1.0, -2.0])}, {"w": torch.tensor([3.0, 0.0])}, {"w": torch.tensor([0.0, 8.0])}]
    mean = weighted_mean(deltas, [0.5, 0.25, 0.25])
    # 0.5 * 1 + 0.25 * 3 + 0.25 * 0 = 1.25;  0.5 * -2 + 0 + 0.25 * 8 = 1
    assert mean["w"].tolist() == [1.25, 1.0]


def test_the_key_depends_on_every_weight_its_name_and_shape_and_on_the_encoder():
    base = {"a": torch.ones(2, 3), "b": torch.zeros(())}
    changed = [
        base_key({**base, "b": torch.tensor(1e-7)}, "words"),
        base_key({"a": base["a"].reshape(3, 2), "b": base["b"]}, "words"),
        base_key({"c": base["a"], "b": base["b"]}, "words"),
        base_key(base, "other words"),
    ]
    same = base_key(dict(reversed(base.items())), "words")
    assert same == base_key(base, "words")
    assert len({same, *changed}) == 5


def test_a_delta_that_must_not_be_added_is_named():
    weights = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2)}
    sound = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2)}
    assert fault_in(sound, weights) is None
    assert "norm" in str(fault_in({**sound, "b": torch.tensor([0.0, 0.1])}, weights))
    assert "not finite" in str(fault_in({**sound, "a": torch.tensor([float("nan"), 0.0])}, weights))
    assert "shape [3]" in str(fault_in({**sound, "a": torch.zeros(3)}, weights))
    assert "lacks b" in str(fault_in({"a": sound["a"]}, weights))
    assert "has c" in str(fault_in({**sound, "c": torch.zeros(1)}, weights))
