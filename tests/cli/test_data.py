"""`hone data`: out to a LeRobot data set and back, and a policy cloned from what came back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hone.cli import main
from hone.data.episodes import EpisodeWriter, read_episodes
from hone.specs import Spec
from hone.types import Episode, Placement, Task


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    writer = EpisodeWriter(tmp_path / "demos", Spec(), {"seed": 0})
    for status in ("success", "failure"):
        actions = generator.uniform(-1, 1, (10, 7)).astype(np.float32)
        writer.write(
            Episode(
                Task("toy", 0, "do_it", "do it"),
                Placement("sampled", 1),
                status,
                generator.normal(size=(10, 8)).astype(np.float32),
                actions,
                actions,
                np.full((10, 2, 84, 84, 3), 90, np.uint8),
                metadata={"number": 0},
            )
        )
    return tmp_path / "demos"


def test_out_and_back_and_cloned(demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dataset, back = tmp_path / "dataset", tmp_path / "back"
    assert main(["data", "export", "--demos", str(demos), "--output", str(dataset), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["episodes"], written["successes"], written["frames"]) == (2, 1, 20)
    assert main(["data", "import", "--dataset", str(dataset), "--output", str(back), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["successes"] == 1
    np.testing.assert_array_equal(read_episodes(back)[0].actions, read_episodes(demos)[0].actions)
    clone = ["clone", "--demos", str(back), "--output", str(tmp_path / "policy")]
    assert main([*clone, "--training.steps", "2", "--training.batch-size", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 1


def test_bad_input_is_one_line(demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "import", "--dataset", str(demos), "--output", str(tmp_path / "back")]) == 2
    assert "Hone's own episodes already" in capsys.readouterr().err
    assert main(["data", "export", "--demos", str(demos), "--output", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
