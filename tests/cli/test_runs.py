"""`hone runs` on a run that was made up."""

import json
from pathlib import Path

import pytest
from synthetic_run import make_run

from hone.cli import main
from hone.evaluation.run_folder import RunFolder, write_json


def test_listing_comparing_and_resuming(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        make_run(RunFolder(tmp_path / name))
    assert main(["runs", "list", str(tmp_path)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split()[:4] == ["run", "suite", "seed", "state"]
    assert [line.split()[0] for line in lines[1:]] == ["a", "b"]
    assert main(["runs", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] == [0.0, 0.0, 0.0]
    assert main(["runs", "resume", str(tmp_path / "a")]) == 2
    assert "was not made by `hone improve`" in capsys.readouterr().err
    assert main(["runs", "resume", str(tmp_path / "c")]) == 2
    assert "there is no run" in capsys.readouterr().err


def test_resume_goes_on_with_the_runs_own_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import asdict

    from hone.cli.demo import demo_recipe

    taken = []
    monkeypatch.setattr(
        "hone.cli.improve.improve_and_report", lambda settings, as_json, ray: taken.append((settings, ray)) or 0
    )
    monkeypatch.chdir(tmp_path)
    recipe = demo_recipe(Path("runs/demo"), 4)
    write_json(RunFolder(Path("runs/demo")).config, json.loads(json.dumps(asdict(recipe), default=str)))
    assert main(["runs", "resume", "./runs/demo"]) == 0
    assert main(["runs", "resume", "./runs/demo", "--ray", "local"]) == 0
    assert taken == [(recipe, None), (recipe, "local")]
    Path("runs/demo").rename("runs/moved")
    assert main(["runs", "resume", "runs/moved"]) == 2
    assert "was started as 'runs/demo'" in capsys.readouterr().err
