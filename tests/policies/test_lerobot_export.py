"""What `hone export` writes, read by LeRobot's own classes. Needs lerobot 0.6 (Python 3.12)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hone.cli import main
from hone.errors import HoneError
from hone.policies import SmallPolicy, SmallPolicyConfig
from hone.policies.heads import DCTHeadConfig
from hone.types import Observation

SIZE = 28


def make_policy(**changes: object) -> SmallPolicy:
    config = SmallPolicyConfig(image_size=SIZE, chunk_length=3, channels=8, head=DCTHeadConfig((8,)), **changes)  # type: ignore[arg-type]
    policy = config.build(3)
    policy.fit_normalization(observation(20))
    return policy


def observation(rows: int) -> Observation:
    rng = np.random.default_rng(0)
    state = rng.normal(size=(rows, 2, 11)).astype(np.float32)
    images = rng.integers(0, 256, (rows, 2, SIZE, SIZE, 3), dtype=np.uint8)
    return Observation(rng.normal(size=(rows, 8)).astype(np.float32), ("pick up the milk",) * rows, images, state)


def batch_of(seen: Observation) -> dict:
    """As LeRobot's LIBERO environment gives it: turned by 180 degrees, so an upright picture is mirrored."""
    assert seen.images is not None
    turned = torch.from_numpy(np.ascontiguousarray(seen.images[:, :, :, ::-1])).permute(0, 1, 4, 2, 3) / 255
    return {
        "observation.images.image": turned[:, 0],
        "observation.images.image2": turned[:, 1],
        "observation.state": torch.from_numpy(seen.proprio),
        "task": list(seen.instructions),
    }


@pytest.fixture
def exported(tmp_path: Path) -> tuple[SmallPolicy, Path]:
    pytest.importorskip("lerobot", reason="needs lerobot 0.6")
    policy = make_policy()
    policy.save_pretrained(tmp_path / "policy")
    assert main(["export", str(tmp_path / "policy"), str(tmp_path / "exported")]) == 0
    return policy, tmp_path / "exported"


def test_lerobot_loads_it_by_its_type_and_acts_as_hone_does(exported: tuple[SmallPolicy, Path]) -> None:
    from lerobot.configs import PreTrainedConfig, parser  # pyright: ignore[reportMissingImports]
    from lerobot.policies.factory import (  # pyright: ignore[reportMissingImports]
        get_policy_class,
        make_pre_post_processors,
    )

    ours, folder = exported
    parser.load_plugin("hone.lerobot_plugin")  # what --policy.discover_packages_path does
    config = PreTrainedConfig.from_pretrained(folder)
    theirs = get_policy_class(config.type).from_pretrained(folder, config=config)
    before, after = make_pre_post_processors(config, pretrained_path=str(folder))
    seen = observation(4)
    expected = ours.predict_action_chunk(seen)
    batch = before(batch_of(seen))
    assert torch.equal(theirs.predict_action_chunk(batch), expected)
    theirs.reset()
    for step in range(3):
        assert torch.equal(after(theirs.select_action(batch)), expected[:, step])
    loss, _ = theirs.forward({**batch, "action": expected, "action_is_pad": torch.zeros(4, 3, dtype=torch.bool)})
    assert float(loss) < 1e-6  # what the policy itself does is what it would clone without error
    worse, _ = theirs.forward({**batch, "action": -expected})
    worse.backward()
    assert float(worse) > float(loss)


def test_what_lerobot_cannot_feed_is_not_exported(exported: tuple[SmallPolicy, Path], tmp_path: Path) -> None:
    from hone.lerobot_plugin.configuration_hone import export_lerobot_policy

    with pytest.raises(HoneError, match="object poses"):
        export_lerobot_policy(make_policy(inputs="state"), tmp_path / "state")
    with pytest.raises(HoneError, match="camera side has no name in LeRobot"):
        export_lerobot_policy(make_policy(cameras=("side",)), tmp_path / "side")
    with pytest.raises(HoneError, match="not empty"):
        export_lerobot_policy(make_policy(), exported[1])
    assert json.loads((exported[1] / "config.json").read_text())["type"] == "hone"


def test_without_lerobot_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_policy().save_pretrained(tmp_path / "policy")
    for name in [name for name in sys.modules if name.startswith("hone.lerobot_plugin")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lerobot.configs", None)
    monkeypatch.setitem(sys.modules, "lerobot", None)
    assert main(["export", str(tmp_path / "policy"), str(tmp_path / "out")]) == 2
    assert "needs the package lerobot 0.6" in capsys.readouterr().err
