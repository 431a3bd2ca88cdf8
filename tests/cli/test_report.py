import json
from pathlib import Path

import pytest

from hone import cli
from hone.evaluation.run_folder import write_json


def test_json_names_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "runs" / "tiny"
    write_json(run / "config.json", {"suite": "libero_object"})
    (run / "metrics.jsonl").write_text(
        "".join(json.dumps({"iteration": i, "rollouts": 8 * i, "train_success": 0.5}) + "\n" for i in range(3))
    )
    assert cli.main(["report", str(run), "--output", str(tmp_path / "page.html"), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"report": str(tmp_path / "page.html")}
    assert "This run has not finished" in (tmp_path / "page.html").read_text()
