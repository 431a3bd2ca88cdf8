"""Which chunks are tried: medoids, primitives, distances in normalised units, priors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.planning.candidates import CandidateConfig, propose
from hone.planning.macros import MacroLibrary, distances, fit_library, k_medoids, primitives, primitives_alone
from hone.policies.small import SmallPolicyConfig
from hone.types import Observation


def test_medoids_are_the_middles_of_the_clusters():
    """Three clusters on a line; of each the middle point is nearest to the others."""
    points = np.array([0.0, 1.0, 2.0, 50.0, 51.0, 52.0, 100.0, 101.0, 102.0])
    between = np.abs(points[:, None] - points[None])
    for seed in range(5):
        assert k_medoids(between, 3, np.random.default_rng(seed)).tolist() == [1, 4, 7]
    assert len(set(k_medoids(np.zeros((4, 4)), 4, np.random.default_rng(0)))) == 4
    with pytest.raises(HoneError, match="1 to 9"):
        k_medoids(between, 10, np.random.default_rng(0))


def test_distances_are_in_units_of_the_spread():
    """One number in seven differs by two of its units, at every step: sqrt(4 / 7)."""
    spread = np.array([0.5, 1, 1, 1, 1, 1, 1], np.float32)
    first = np.zeros((1, 4, 7), np.float32)
    second = first.copy()
    second[..., 0] = 1.0
    np.testing.assert_allclose(distances(first, second, spread), [np.sqrt(4 / 7)])


def test_the_library_holds_medoids_as_they_were_executed_and_primitives(tmp_path):
    generator = np.random.default_rng(0)
    chunks = np.clip(generator.normal(size=(40, 8, 7)), -1, 1).astype(np.float32)
    library = fit_library(chunks, 5, generator)
    assert len(library.chunks) == 5 + 14
    for chunk in library.chunks[:5]:
        assert (chunk == chunks).all((1, 2)).any()
    assert np.abs(library.chunks).max() <= 1
    library.save(tmp_path / "library.npz")
    np.testing.assert_array_equal(MacroLibrary.load(tmp_path / "library.npz").chunks, library.chunks)
    with pytest.raises(HoneError, match="hone value"):
        MacroLibrary.load(tmp_path / "nothing.npz")
    assert len(np.unique(primitives(8), axis=0)) == 14


@pytest.fixture(scope="module")
def policy():
    policy = SmallPolicyConfig(inputs="state").build(0)
    policy.fit_normalization(seen(16))
    return policy.requires_grad_(False)


def seen(rows: int) -> Observation:
    generator = np.random.default_rng(rows)
    state = generator.normal(size=(rows, 4, 11)).astype(np.float32)
    return Observation(generator.normal(size=(rows, 8)).astype(np.float32), ("go",) * rows, state=state)


def generators(rows: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(rows)]


def test_the_policys_own_chunk_comes_first_and_is_the_likeliest(policy):
    features, library = policy.encode(seen(3)), primitives_alone(8)
    known = propose(policy, features, None, CandidateConfig(samples=4, library=3), library, generators(3))
    assert known.chunks.shape == (3, 7, 8, 7)
    mode = policy.propose(features, None, 1, None)[0].chunks[:, 0].numpy()
    np.testing.assert_array_equal(known.chunks[:, 0], mode)
    np.testing.assert_allclose(known.prior.sum(1), 1)
    assert (known.prior.argmax(1) == 0).all()
    away = distances(known.chunks, known.chunks[:, :1], library.spread)
    np.testing.assert_array_equal(np.argsort(-known.prior, kind="stable"), np.argsort(away, kind="stable"))
    # Chunks of the library stand behind those of the policy and are not repeated.
    for row in known.chunks:
        picked = [int(np.flatnonzero((chunk == library.chunks).all((1, 2)))[0]) for chunk in row[4:]]
        assert len(set(picked)) == 3


def test_a_row_is_the_same_in_any_batch(policy):
    observation, library = seen(3), primitives_alone(8)
    config = CandidateConfig(samples=3, library=2)
    together = propose(policy, policy.encode(observation), None, config, library, generators(3))
    alone = propose(policy, policy.encode(observation.rows(slice(1, 2))), None, config, library, generators(2)[1:])
    np.testing.assert_allclose(together.chunks[1], alone.chunks[0], atol=1e-6)


def test_sampling_leaves_the_policys_own_noise_alone(policy):
    before = policy.exploration
    propose(policy, policy.encode(seen(1)), None, CandidateConfig(noise=0.7), primitives_alone(8), generators(1))
    assert policy.exploration == before


def test_more_chunks_than_there_are_is_an_error(policy):
    with pytest.raises(HoneError, match="library of 14"):
        propose(policy, policy.encode(seen(1)), None, CandidateConfig(library=15), primitives_alone(8), generators(1))
