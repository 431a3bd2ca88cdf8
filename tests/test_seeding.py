import numpy as np
import torch

from hone.seeding import derive_seed, numpy_generator, torch_generator


def test_seeds_are_the_same_everywhere_and_forever():
    # First 8 bytes of sha256(b'[0, "episode", 17]'), shifted right by one.
    assert derive_seed(0, "episode", 17) == 5355693217341494474


def test_different_paths_give_different_seeds():
    paths = [(), ("a",), ("a", 1), ("a", "1"), ("ab", "c"), ("a", "bc"), (1, "a"), ("a", 1, 0)]
    seeds = {derive_seed(seed, *path) for seed in (0, 1, 2) for path in paths}
    assert len(seeds) == 3 * len(paths)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_do_not_touch_global_state():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    a, b = torch_generator(0, "x"), torch_generator(0, "x")
    assert torch.equal(torch.randn(4, generator=a), torch.randn(4, generator=b))
    assert numpy_generator(0, "x").random() == numpy_generator(0, "x").random()
    assert numpy_generator(0, "x").random() != numpy_generator(0, "y").random()
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[index]
