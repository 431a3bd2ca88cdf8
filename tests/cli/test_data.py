"""`hone data`: out to a LeRobot data set and back, and a policy cloned from what came back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hone.cli import main
from hone.data.episodes import EpisodeWriter, read_episodes
from hone.rewards.progress import CriticConfig, ProgressCritic
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


def test_a_critic_adds_its_column(demos: Path, tmp_path: Path):
    critic, dataset = ProgressCritic(CriticConfig(channels=4, hidden=8)), tmp_path / "dataset"
    critic.save(tmp_path / "critic")
    export = ["data", "export", "--demos", str(demos), "--critic"]
    assert main([*export, str(tmp_path / "critic"), "--output", str(dataset)]) == 0
    written = pq.ParquetFile(dataset / "data/chunk-000/file-000.parquet").read()["next.progress"].to_numpy()
    episode = read_episodes(demos)[0]
    assert episode.images is not None
    since = critic.between_all(episode.images, "do it")[0]
    np.testing.assert_allclose(written[:10], since, atol=1e-6)
    side = pq.ParquetFile(dataset / "sarm_progress.parquet").read().to_pydict()
    np.testing.assert_array_equal(side["progress_sparse"], np.maximum(written, 0))
    assert (side["index"], side["episode_index"]) == (list(range(20)), [0] * 10 + [1] * 10)
    assert side["frame_index"] == [*range(10), *range(10)]
    ProgressCritic(CriticConfig(channels=4, hidden=8, image_size=64)).save(tmp_path / "other")
    assert main([*export, str(tmp_path / "other"), "--output", str(tmp_path / "no")]) == 2


def test_what_lerobot_wrote_is_cloned(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A data set of the package `lerobot` itself (tests/golden/make_lerobot_v3.py)."""
    golden = Path(__file__).parents[1] / "golden" / "lerobot_v3" / "videos"
    assert main(["data", "import", "--dataset", str(golden), "--output", str(tmp_path / "demos")]) == 0
    clone = ["clone", "--demos", str(tmp_path / "demos"), "--output", str(tmp_path / "policy")]
    assert main([*clone, "--training.steps", "2", "--training.batch-size", "4", "--json"]) == 0
    assert np.isfinite(json.loads(capsys.readouterr().out)["loss"])
    assert (tmp_path / "policy" / "model.safetensors").exists()


def test_check_says_what_to_do_and_fails_where_something_is_broken(
    demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["data", "check", str(demos), "--json"]) == 0
    said = capsys.readouterr()
    outcome = json.loads(said.out)
    assert outcome["result"] == "warn"
    assert "step-to-step change" in said.err
    assert {"group", "check", "level", "said", "advice"} == set(outcome["findings"][0])
    assert main(["data", "export", "--demos", str(demos), "--output", str(tmp_path / "dataset")]) == 0
    (tmp_path / "dataset/videos/observation.images.image2/chunk-000/file-000.mp4").unlink()
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path / "dataset")]) == 1
    said = capsys.readouterr()
    assert not said.out
    assert "FAIL" in said.err
    assert "fetch videos/ again" in said.err
    assert main(["data", "check", str(tmp_path / "nothing")]) == 2


def test_bad_input_is_one_line(demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "import", "--dataset", str(demos), "--output", str(tmp_path / "back")]) == 2
    assert "Hone's own episodes already" in capsys.readouterr().err
    assert main(["data", "export", "--demos", str(demos), "--output", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
