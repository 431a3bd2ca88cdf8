import json
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import make_card

from hone.evaluation import protocol
from hone.evaluation.protocol import ProtocolCard, installed_versions, source_commit

CARD = make_card()


def other(value: Any) -> Any:
    """A value of the same kind that differs."""
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, int):
        return value + 1
    if isinstance(value, dict):
        return {**value, "mujoco": "0"}
    return (*value, other(value[0] if value else ""))


@pytest.mark.parametrize("name", [f.name for f in fields(ProtocolCard)])
def test_hash_changes_with_every_field(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = make_card()
    object.__setattr__(changed, name, other(getattr(CARD, name)))  # past the types: any value must count
    assert changed.hash() != CARD.hash()
    assert [line.split(":")[0] for line in CARD.differences(changed)] == [name]


def test_a_card_from_before_perturbations_keeps_its_hash() -> None:
    assert not {"perturbations", "safety_limits", "sampling"} & set(CARD.to_json())
    assert replace(CARD, sampling="best_of 8").hash() != CARD.hash()
    assert ProtocolCard.from_json(CARD.to_json()).hash() == CARD.hash()
    perturbed = replace(CARD, perturbations=("camera:2 seed 0",))
    assert ProtocolCard.from_json(perturbed.to_json()) == perturbed
    assert dict(perturbed.describe())["Perturbations"] == "camera:2 seed 0"


def test_hash_is_the_same_in_another_process_and_for_another_order_of_versions() -> None:
    turned = replace(CARD, versions=dict(reversed(CARD.versions.items())))
    assert turned.hash() == CARD.hash()
    program = f"from hone.evaluation.protocol import ProtocolCard as C; print(C.from_json({CARD.to_json()!r}).hash())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == CARD.hash()


def test_card_survives_json() -> None:
    assert ProtocolCard.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD


def test_description_names_what_departs_from_published_scores() -> None:
    shown = dict(replace(CARD, step_cap=400).describe())
    assert shown["Step cap"] == "400 control steps (published scores use 280)"
    assert dict(CARD.describe())["Step cap"] == "280 control steps"
    assert dict(CARD.describe())["Placements"] == "official, 0-49 of each task"
    assert dict(replace(CARD, placements=(1, 2, 3, 7, 9, 10)).describe())["Placements"].startswith(
        "official, 1-3, 7, 9-10 "
    )


def test_versions_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PACKAGES", ("numpy", "no-such-package"))
    versions = installed_versions()
    assert versions["no-such-package"] == "missing"
    assert versions["numpy"][0].isdigit()


def test_commit_is_that_of_the_checkout_and_says_if_files_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "__file__", str(tmp_path / "protocol.py"))
    assert source_commit() == "unknown"
    if shutil.which("git") is None:
        pytest.skip("needs git")
    (tmp_path / "protocol.py").write_text("")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    assert source_commit() == "unknown"  # somebody else's repository: the file is not tracked in it
    git("add", "protocol.py")
    git("commit", "--quiet", "-m", "one")
    assert source_commit() == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "protocol.py").write_text("changed")
    assert source_commit().endswith("+dirty")
