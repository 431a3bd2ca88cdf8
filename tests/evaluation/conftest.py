import shutil
from pathlib import Path

import pytest
from synthetic_run import make_run

from hone.evaluation.run_folder import RunFolder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(RunFolder(tmp_path_factory.mktemp("runs") / "demo"))


@pytest.fixture
def run_folder(finished_run: RunFolder, tmp_path: Path) -> RunFolder:
    """A finished run on disk, made up; each test may spoil its own copy."""
    return RunFolder(shutil.copytree(finished_run.path, tmp_path / "runs" / "demo"))
