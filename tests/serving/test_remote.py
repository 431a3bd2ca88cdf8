"""A policy on a server gives what the same policy gives here, row by row and episode by episode."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from local_server import CountingPolicy, H, observation, served

from hone.data.lerobot_format import reorient
from hone.errors import HoneError
from hone.policies import load_policy
from hone.policies.base import NoLikelihoodError, Policy, PolicyState
from hone.policies.remote import RemoteConfig, RemotePolicy
from hone.seeding import torch_generator
from hone.serving.server import ServerConfig
from hone.serving.service import Service
from hone.specs import SpecMismatchError, check_compatible


def decided(policy: Policy, state: PolicyState, rows: int, seed: int = 0, k: int = 1, generators: Any = None) -> Any:
    """Chunks for the same scene, drawn as the policy's spec asks."""
    upright = observation(rows, policy.spec.image_size, seed)
    assert upright.images is not None
    seen = replace(upright, images=reorient(upright.images, "upright", policy.spec.image_orientation))
    candidates, state = policy.propose(policy.encode(seen), state, k, generators)
    return candidates.chunks.numpy(), state


@pytest.mark.parametrize("dialect", ["auto", "openpi"])
def test_a_remote_policy_acts_as_the_served_one(dialect: Any) -> None:
    here = CountingPolicy()
    with served(Service(CountingPolicy())) as port:
        remote = RemotePolicy(f"remote:ws://127.0.0.1:{port}", RemoteConfig(dialect=dialect))
        assert isinstance(remote, Policy)
        assert (remote.spec, remote.chunk_length) == (here.spec, H)
        ours, theirs = here.initial_state(3), remote.initial_state(3)
        for look in range(3):
            expected, ours = decided(here, ours, 3, look)
            got, theirs = decided(remote, theirs, 3, look)
            np.testing.assert_allclose(got, expected, atol=1e-6)
        remote.close()


def test_vla_eval_hands_out_a_chunk_action_by_action() -> None:
    here = CountingPolicy()
    with served(Service(CountingPolicy())) as port:
        config = RemoteConfig(dialect="vla_eval", image_size=16)  # the dialect does not tell the size
        remote = RemotePolicy(f"remote:ws://127.0.0.1:{port}", config)
        assert remote.chunk_length == 1
        ours, theirs = here.initial_state(3), remote.initial_state(3)
        for look in range(2):
            expected, ours = decided(here, ours, 3, look)
            for step in range(H):
                got, theirs = decided(remote, theirs, 3, look)
                np.testing.assert_allclose(got, expected[:, :, step : step + 1], atol=1e-6)
        remote.close()


@pytest.mark.parametrize(("dialect", "steps"), [("openpi", 1), ("vla_eval", H)])
def test_an_episode_starts_anew_on_a_line_that_was_used_before(dialect: Any, steps: int) -> None:
    with served(Service(CountingPolicy())) as port:
        remote = RemotePolicy(f"ws://127.0.0.1:{port}", RemoteConfig(dialect=dialect, image_size=16))
        for _ in range(2):
            state = remote.initial_state(1)
            for look in range(2 * steps):
                chunks, state = decided(remote, state, 1)
                assert chunks[0, 0, 0, 0] == pytest.approx(look // steps / 1000)  # decisions of this episode
            del state
        remote.close()


def test_seed_and_candidates_reach_a_server_by_hone() -> None:
    with served(Service(CountingPolicy(memory=False))) as port:
        remote = RemotePolicy(f"ws://127.0.0.1:{port}")
        noise = [decided(remote, remote.initial_state(2), 2, k=3, generators=[torch_generator(s) for s in (1, 2)])[0]
                 for _ in range(2)]  # fmt: skip
        assert noise[0].shape == (2, 3, H, 7)
        np.testing.assert_array_equal(noise[0], noise[1])
        assert len(np.unique(noise[0][..., 0, 4])) == 6
        greedy, _ = decided(remote, remote.initial_state(2), 2, k=3)
        assert greedy.shape == (2, 3, H, 7)
        assert (greedy[..., 4] == 0).all()
        remote.close()


def test_hints_reach_the_server_with_the_instruction() -> None:
    with served(Service(CountingPolicy())) as port:
        remote = RemotePolicy(f"ws://127.0.0.1:{port}")
        hinted = replace(observation(2), hints=("lower far", ""))
        chunks = remote.propose(remote.encode(hinted), None, 1, None)[0].chunks[:, 0, 0, 2]
        told = [len("pick up the milk lower far"), len("pick up the milk!")]
        np.testing.assert_allclose(1000 * chunks, told, rtol=1e-5)
        remote.close()


def test_it_travels_to_another_process_without_its_lines() -> None:
    with served(Service(CountingPolicy())) as port:
        remote = RemotePolicy(f"ws://127.0.0.1:{port}")
        copy = pickle.loads(pickle.dumps(remote))
        np.testing.assert_array_equal(
            decided(copy, copy.initial_state(1), 1)[0], decided(remote, remote.initial_state(1), 1)[0]
        )
        copy.close()
        remote.close()


def test_it_has_no_likelihood_and_cannot_be_improved() -> None:
    with served(Service(CountingPolicy())) as port:
        remote = RemotePolicy(f"ws://127.0.0.1:{port}")
        features = remote.encode(observation())
        candidates, _ = remote.propose(features, None, 1, None)
        with pytest.raises(NoLikelihoodError, match="GRPO"):
            remote.log_prob(features, candidates.select(torch.zeros(1, dtype=torch.long)))
        with pytest.raises(HoneError, match=r"on a server.*GRPO"):
            load_policy(f"remote:ws://127.0.0.1:{port}")
        remote.close()


def test_other_camera_names_are_an_error_that_names_both_sides() -> None:
    with served(Service(CountingPolicy()), ServerConfig(rename=("agentview=observation/base",))) as port:
        with pytest.raises(
            HoneError, match=r"wants observation/base, which is not sent.*observation/image \(agentview\)"
        ):
            RemotePolicy(f"ws://127.0.0.1:{port}", RemoteConfig())
        remote = RemotePolicy(f"ws://127.0.0.1:{port}", RemoteConfig(rename=("agentview=observation/base",)))
        with pytest.raises(SpecMismatchError, match="image_size: policy 16, environment 84"):
            check_compatible(remote.spec, CountingPolicy(84).spec)
        remote.close()
