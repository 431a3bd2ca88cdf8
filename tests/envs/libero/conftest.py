"""hf-libero's own environments, composed once for all tests that compare with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hone.envs.libero import hf, suites
from hone.envs.libero.standins import standin_assets

FreshControlEnv = Callable[[str], Any]


@pytest.fixture(scope="session")
def composed() -> dict[str, Any]:
    return {}


@pytest.fixture
def fresh_control_env(composed: dict[str, Any]) -> FreshControlEnv:
    """`fresh_control_env(suite)`: hf-libero's `ControlEnv` of the suite's task 0, just seeded and reset."""

    def fresh(suite: str) -> Any:
        if suite not in composed:
            composed[suite] = hf.compose(suites.task(suite, 0), standin_assets())
        else:
            composed[suite].seed(0)
            hf.reset(composed[suite])
        return composed[suite]

    return fresh


@pytest.fixture
def official_states() -> Callable[[str], np.ndarray]:
    return lambda suite: suites.official_initial_states(suites.task(suite, 0))


@pytest.fixture
def originals():
    folder = os.environ.get("HONE_LIBERO_ASSETS")
    if not folder:
        pytest.skip("needs LIBERO's original assets: set HONE_LIBERO_ASSETS to their folder")
    return Path(folder)
