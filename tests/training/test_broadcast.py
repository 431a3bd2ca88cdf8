"""Only what changed is sent."""

from __future__ import annotations

import torch
from toy_policies import LinearGaussianPolicy

from hone.training.broadcast import Versions, load_into, tensors_of, to_bytes


def test_a_copy_at_any_version_is_sent_just_what_it_lacks():
    policy = LinearGaussianPolicy()
    fresh, copies = Versions(policy), {0: LinearGaussianPolicy()}
    with torch.no_grad():
        policy.head.linear.bias.add_(1)
        fresh.update(policy)
        assert set(fresh.since(0)) == {"head.linear.bias"}
        copies[1] = LinearGaussianPolicy()
        load_into(copies[1], to_bytes(fresh.since(0)))
        policy.encoder.weight.mul_(2)
        fresh.update(policy)
    assert set(fresh.since(1)) == {"encoder.weight"}
    assert set(fresh.since(0)) == {"head.linear.bias", "encoder.weight"}
    for version, copy in copies.items():
        load_into(copy, to_bytes(fresh.since(version)))
        for name, tensor in policy.state_dict().items():
            assert torch.equal(copy.state_dict()[name], tensor)


def test_the_same_weights_are_the_same_version():
    policy = LinearGaussianPolicy()
    versions = Versions(policy)
    versions.update(policy)
    assert versions.version == 0
    assert versions.since(0) == {}


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(3, 2)
        self.out = torch.nn.Linear(2, 3, bias=False)
        self.out.weight = self.words.weight


def test_tied_weights_can_be_sent():
    policy, copy = Tied(), Tied()
    load_into(copy, to_bytes(tensors_of(policy)))
    assert torch.equal(copy.words.weight, policy.words.weight)


def test_a_black_box_has_nothing_to_send():
    load_into(object(), to_bytes(tensors_of(object())))
