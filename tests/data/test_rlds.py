"""TFRecords, Examples and RLDS episodes of LIBERO, written here as TensorFlow Datasets writes them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hone.data.episodes import read_episodes
from hone.data.rlds import RldsConvention, RldsReader
from hone.data.sources import Conventions, import_episodes, kind_of, open_source
from hone.data.tfrecord import count_records, crc32c, example, masked_crc, records
from hone.envs.libero import suites
from hone.errors import HoneError

SIDE = 32
STEPS = 6
NAME = "turn_on_the_stove"


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values: Any) -> bytes:
    """As tensorflow/core/example/feature.proto has it; numbers packed."""
    if isinstance(values, list):
        return field(1, b"".join(field(1, value) for value in values))
    if values.dtype.kind == "f":
        return field(2, field(1, values.astype("<f4").tobytes()))
    return field(3, field(1, b"".join(varint(int(value) % 2**64) for value in values)))


def message(features: dict[str, Any]) -> bytes:
    entries = (field(1, field(1, name.encode()) + field(2, feature(value))) for name, value in features.items())
    return field(1, b"".join(entries))


def record(content: bytes) -> bytes:
    header = struct.pack("<Q", len(content))
    check = struct.pack("<I", masked_crc(header)), struct.pack("<I", masked_crc(content))
    return header + check[0] + content + check[1]


def picture(step: int, camera: int) -> np.ndarray:
    """Smooth, with no symmetry, as it stands upright."""
    ramp = np.linspace(0, 120, SIDE)
    planes = np.zeros((SIDE, SIDE, 3))
    planes[..., 0], planes[..., 1], planes[..., 2] = ramp[:, None] + 60 * camera, ramp[None], 20 * step
    return planes.astype(np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "jpeg", quality=95, subsampling=0)
    return buffer.getvalue()


def features(seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    actions = generator.uniform(-1, 1, (STEPS, 7)).astype(np.float32)
    actions[:, 6] = [-1, -1, -1, 1, 1, 1]
    turned = [[jpeg(picture(t, camera)[:, ::-1]) for t in range(STEPS)] for camera in range(2)]
    return {
        "steps/action": actions.reshape(-1),
        "steps/observation/state": generator.normal(size=STEPS * 8).astype(np.float32),
        "steps/observation/image": turned[0],
        "steps/observation/wrist_image": turned[1],
        "steps/language_instruction": [b"turn on the stove"] * STEPS,
        "steps/reward": np.eye(STEPS, dtype=np.float32)[-1],
        "steps/is_last": np.eye(STEPS, dtype=np.int64)[-1],
        "episode_metadata/file_path": [f"/data/libero_goal/{NAME}_demo.hdf5".encode()],
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "libero_goal_no_noops" / "1.0.0"
    folder.mkdir(parents=True)
    for shard in range(2):
        contents = (message(features(2 * shard + i)) for i in range(2))
        (folder / f"libero_goal-train.tfrecord-{shard:05d}-of-00002").write_bytes(b"".join(map(record, contents)))
    return folder


def shard(dataset: Path) -> Path:
    return sorted(dataset.glob("*.tfrecord*"))[1]


def test_crc_is_castagnolis():
    """The check value of CRC-32C, and the vector of 32 zeros in RFC 3720, B.4."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_long_contents_are_summed_like_short_ones():
    content = np.random.default_rng(0).integers(0, 256, 100_003).astype(np.uint8).tobytes()
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(content) == crc ^ 0xFFFFFFFF


def test_an_example_comes_back():
    written = {"a/x": np.array([1.5, -2.0], np.float32), "b": [b"one", b""], "c": np.array([0, -1, 300], np.int64)}
    back = example(message(written), "here")
    assert back["b"] == [b"one", b""]
    np.testing.assert_array_equal(back["a/x"], written["a/x"])
    np.testing.assert_array_equal(back["c"], written["c"])
    unpacked = field(1, field(1, field(1, b"x") + field(2, field(2, b"\x0d" + struct.pack("<f", 2.5)))))
    np.testing.assert_array_equal(example(unpacked, "here")["x"], [2.5])
    with pytest.raises(HoneError, match=r"here is no tf.train.Example"):
        example(b"\x0f\xff", "here")


def test_episodes_come_in(dataset: Path, tmp_path: Path):
    assert kind_of(dataset.parent) == "rlds"
    source = open_source(dataset, Conventions(), SIDE)
    assert len(source) == 4
    import_episodes(source, tmp_path / "demos")
    episodes = read_episodes(tmp_path / "demos")
    assert len(episodes) == 4
    for seed, episode in enumerate(episodes):
        raw = features(seed)
        np.testing.assert_array_equal(episode.actions.reshape(-1), raw["steps/action"])
        np.testing.assert_array_equal(episode.proprio.reshape(-1), raw["steps/observation/state"])
        assert (episode.task, episode.status) == (suites.task("libero_goal", NAME), "success")
        assert episode.images is not None
        for t in range(STEPS):
            for camera in range(2):
                off = np.abs(episode.images[t, camera].astype(int) - picture(t, camera)).mean()
                assert off < 3  # JPEG; mirrored, or of another step or camera, it is off by 6 or more


def test_what_the_user_says_is_done(dataset: Path):
    mirrored = next(iter(RldsReader(dataset, RldsConvention(image_orientation="upright"), SIDE))).images
    assert mirrored is not None
    assert np.abs(mirrored[0, 0, :, ::-1].astype(int) - picture(0, 0)).mean() < 3
    with pytest.raises(HoneError, match="do not fit 'open_one'"):
        next(iter(RldsReader(dataset, RldsConvention(gripper="open_one"), SIDE)))


def test_half_a_record_is_named_before_anything_is_written(dataset: Path, tmp_path: Path):
    path = shard(dataset)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(HoneError, match=r"record 1 of '.*00001-of-00002' is cut off"):
        open_source(dataset, Conventions(), SIDE)
    with pytest.raises(HoneError, match=r"record 1 .* is cut off"):
        list(records(path))
    path.write_bytes(content[:7])
    with pytest.raises(HoneError, match=r"record 0 .* is cut off"):
        count_records(path)
    assert not list(tmp_path.glob("*demos*"))


def test_damage_within_a_record_is_noticed(dataset: Path, tmp_path: Path):
    path = shard(dataset)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(HoneError, match=r"record 0 .* its checksum does not match"):
        import_episodes(open_source(dataset, Conventions(), SIDE), tmp_path / "demos")
    assert not list(tmp_path.glob("*demos*"))
    path.write_bytes(b"\x1f\x8b" + bytes(content))
    with pytest.raises(HoneError, match="does not begin as a TFRecord does"):
        open_source(dataset, Conventions(), SIDE)


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        ("has no steps/observation/state. It has: episode_metadata", {"steps/observation/state": None}),
        ("holds 13 numbers, which is not 7 a step", {"steps/action": np.zeros(13, np.float32)}),
        (r"its columns have \[5, 6\] steps", {"steps/action": np.zeros(35, np.float32)}),
        ("a picture cannot be decoded", {"steps/observation/image": [b"nonsense"] * STEPS}),
        ("not finite", {"steps/observation/state": np.full(48, np.nan, np.float32)}),
    ],
)
def test_another_layout_is_named(dataset: Path, said: str, changes: dict[str, Any]):
    altered = {name: value for name, value in {**features(0), **changes}.items() if value is not None}
    shard(dataset).write_bytes(record(message(altered)))
    with pytest.raises(HoneError, match=said):
        list(open_source(dataset, Conventions(), SIDE))
