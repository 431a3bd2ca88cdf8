"""Every way a policy folder can be wrong is one clear error."""

import json
import os

import numpy as np
import pytest
import safetensors.torch
import torch

from hone.errors import HoneError
from hone.policies import FlowPolicy, SmallPolicy, SmallPolicyConfig, load_policy
from hone.policies.heads import DCTHeadConfig
from hone.types import Observation

CONFIG = SmallPolicyConfig(inputs="state", head=DCTHeadConfig(hidden_sizes=(8,)))


def make_policy() -> SmallPolicy:
    policy = CONFIG.build()
    rng = np.random.default_rng(0)
    policy.fit_normalization(
        Observation(
            proprio=rng.normal(size=(10, 8)).astype(np.float32),
            instructions=("",) * 10,
            state=rng.normal(size=(10, 3, 11)).astype(np.float32),
        )
    )
    return policy


@pytest.fixture
def folder(tmp_path):
    make_policy().save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


def edit_config(folder, change) -> None:
    document = json.loads((folder / "config.json").read_text())
    change(document)
    (folder / "config.json").write_text(json.dumps(document))


def edit_weights(folder, change) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["config"].update(chunk_lenght=8), r"unknown key in .*chunk_lenght'. Did you mean 'chunk_length'"),
        (lambda d: d["config"]["head"].update(sigma=1), r"unknown key in the head in .*'sigma'"),
        (lambda d: d["config"]["head"].update(name="dcr"), r"unknown head in .*'dcr'. Did you mean 'dct'"),
        (lambda d: d["config"].pop("head"), r"unknown head"),
        (lambda d: d["config"].update(head={"name": "flow", "steps": 4}), r"does not say what its flow head predicts"),
        (lambda d: d.update(version="2.0"), r"format version 2.0, and this Hone reads 1.x"),
        (lambda d: d.update(version="new"), r"is not the configuration of a Hone policy"),
        (lambda d: d.update(version=1), r"is not the configuration of a Hone policy"),
        (lambda d: d["config"].update(chunk_length="eight"), r"wrong type"),
        (lambda d: d["config"].update(chunk_length=0), r"chunk_length is 0"),
        (lambda d: d["config"].update(text_encoder="bert"), r"unknown text encoder 'bert'"),
        (lambda d: d["config"].update(text_dim=32), r"does not fit its config.json: .*has shape"),
        (lambda d: d.update(policy="smal"), r"unknown policy .*Did you mean 'small'"),
        (lambda d: d.pop("config"), r"is not the configuration of a Hone policy"),
    ],
)
def test_bad_config(folder, change, message):
    edit_config(folder, change)
    with pytest.raises(HoneError, match=message):
        load_policy(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("normalizer.mean"), r"lacks the normalisation statistics \(normalizer.mean\)"),
        (lambda t: t.update({"normalizer.std": t["normalizer.std"] * float("nan")}), r"no normalisation statistics"),
        (lambda t: t.pop("text.0.bias"), r"text.0.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), r"extra is unknown"),
        (lambda t: t.update({"text.0.bias": torch.zeros(3)}), r"text.0.bias has shape \[3\], not \[64\]"),
    ],
)
def test_bad_weights(folder, change, message):
    edit_weights(folder, change)
    with pytest.raises(HoneError, match=message):
        load_policy(folder)


def test_missing_and_damaged_files(folder, tmp_path):
    with pytest.raises(HoneError, match=r"no policy at .*config.json is missing"):
        load_policy(tmp_path / "nothing")
    with pytest.raises(HoneError, match="holds a 'small' policy, not a 'flow' one"):
        FlowPolicy.from_pretrained(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(HoneError, match="is damaged"):
        load_policy(folder)
    weights.unlink()
    with pytest.raises(HoneError, match="no weights at"):
        load_policy(folder)
    (folder / "config.json").write_text("{half")
    with pytest.raises(HoneError, match="is not the configuration"):
        load_policy(folder)


def test_an_unfitted_policy_cannot_be_saved(tmp_path):
    with pytest.raises(HoneError, match="call fit_normalization first"):
        CONFIG.build().save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_checkpoint_whole(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    policy = make_policy()
    policy.exploration = 0.9

    def disk_is_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_is_full)
    with pytest.raises(HoneError, match="No space left on device"):
        policy.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_saving_again_replaces_the_weights_and_leaves_other_files(folder):
    (folder / "notes.txt").write_text("mine")
    policy = make_policy()
    policy.exploration = 0.9
    policy.save_pretrained(folder)
    assert load_policy(folder).exploration == pytest.approx(0.9)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]


def test_a_folder_without_a_version_and_one_of_a_newer_minor_version_are_read(folder, caplog) -> None:
    edit_config(folder, lambda d: d.pop("version"))
    load_policy(folder)
    assert not caplog.records
    edit_config(folder, lambda d: d.update(version="1.7", notes="something new"))
    load_policy(folder)
    assert "format version 1.7, newer than this Hone's 1.0" in caplog.text
