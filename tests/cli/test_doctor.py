import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hone.cli import checkup, doctor, setup, system
from hone.envs.libero import golden
from hone.errors import HoneError
from hone.policies import SmallPolicyConfig
from hone.types import Observation


def test_json_is_one_object_and_all_is_well_here() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hone.cli", "doctor", "--json"], capture_output=True, text=True, timeout=200
    )
    answer = json.loads(done.stdout)
    checks = {check["name"]: check for check in answer["checks"]}
    assert {
        "Python",
        "torch",
        "mujoco",
        "hf-libero",
        "drawing",
        "C compiler",
        "cache folder",
        "free disk",
        "asset packs",
        "recorded episode",
        "stepping threads",
    } <= checks.keys()
    failed = [check for check in answer["checks"] if check["status"] == "failed"]
    assert answer["ready"] == (not failed)
    assert done.returncode == (1 if failed else 0)
    # The machine that runs these tests draws and compiles, or the tests of the simulator could not run.
    assert checks["drawing"]["status"] != "failed"
    assert checks["C compiler"]["status"] == "ok"


def test_every_line_that_is_not_well_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [
        doctor.Check("drawing", "failed", "egl: no", "apt-get install libegl1"),
        doctor.Check("torch", "ok", "2.13"),
    ]
    monkeypatch.setattr(doctor, "all_checks", lambda: iter(checks))
    assert doctor.run(doctor.Config()) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "apt-get install libegl1" in shown.err
    assert "cannot run here" in shown.err


def test_versions_are_compared_as_numbers() -> None:
    assert doctor.package("numpy", "1.9", None).status == "ok"  # as text, "2" would do, but "1.26" < "1.9"
    assert doctor.package("numpy", "1.0", "1.1").status == "failed"
    missing = doctor.package("no-such-package", "1", "2")
    assert (missing.status, missing.todo) == ("failed", "pip install 'no-such-package>=1,<2'")
    assert doctor._numbers("2.13.0+cpu") == (2, 13, 0)


def test_a_picture_is_really_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DRAW_PROBE", "print(0)")  # draws nothing
    check = doctor.drawing()
    assert check.status == "failed"
    assert "an empty picture" in check.found


def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DRAW_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT_S", 0.5)
    check = doctor.drawing()
    assert check.status == "failed"
    assert "no answer" in check.found


def test_without_a_compiler_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert system.c_compiler() is None
    assert doctor.native_engine().todo == "apt-get install gcc libc6-dev"
    assert any("gcc libc6-dev" in line for line in system.missing())


def test_without_opengl_both_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_loads", lambda library: False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert system.gl_backend() is None
    assert any("libegl1" in line and "libosmesa6" in line for line in system.missing())


def test_osmesa_is_used_where_egl_has_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_loads", lambda library: library in ("libEGL.so.1", "libOSMesa.so.8"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert system.gl_backend() == "osmesa"


def test_the_check_before_installation_needs_only_python() -> None:
    # As `make` runs it: isolated, by path, with nothing of Hone importable.
    done = subprocess.run([sys.executable, "-I", "-S", system.__file__], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_cache_folder_that_others_can_write_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    assert doctor.cache_folder().status == "ok"
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    os.chmod(tmp_path / "cache", 0o777)
    assert doctor.cache_folder().status == "warning"


def test_cache_folder_that_cannot_be_made_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "file" / "cache"))
    assert doctor.cache_folder().status == "failed"
    assert doctor.disk().found.endswith("(here)")


def test_hf_libero_missing_or_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_hf_libero", lambda: None)
    assert doctor.hf_libero().todo == "hone setup"
    monkeypatch.setattr(doctor, "installed_hf_libero", lambda: "0.0.1")
    if doctor.importlib.util.find_spec("libero") is not None:
        assert doctor.hf_libero().status == "warning"


class Pip:
    """Records the command instead of running it."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.command: list[str] = []

    def run(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        self.command = command
        return subprocess.CompletedProcess(command, self.code)


def test_setup_installs_without_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip(0)
    monkeypatch.setattr(setup.subprocess, "run", pip.run)
    monkeypatch.setattr(setup, "installed_hf_libero", lambda: None)
    assert setup.run(setup.Config()) == 0
    assert pip.command[0] == sys.executable
    assert "--no-deps" in pip.command
    assert pip.command[-1] == f"hf-libero=={setup.HF_LIBERO}"


def test_setup_does_nothing_twice_and_says_when_pip_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip(1)
    monkeypatch.setattr(setup.subprocess, "run", pip.run)
    monkeypatch.setattr(setup, "installed_hf_libero", lambda: setup.HF_LIBERO)
    assert setup.run(setup.Config()) == 0
    assert pip.command == []
    with pytest.raises(HoneError, match="could not install hf-libero"):
        setup.run(setup.Config(force=True))
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HoneError, match="uv pip install --no-deps hf-libero"):
        setup.run(setup.Config(force=True))


def test_a_replay_that_departs_from_the_recording_fails() -> None:
    recorded = golden.Golden.load().success_step
    assert checkup.golden_episode(golden.Replay(1e-9, recorded, recorded)).status == "ok"
    assert checkup.golden_episode(golden.Replay(1e-3, recorded, recorded)).status == "failed"
    assert checkup.golden_episode(golden.Replay(1e-9, None, recorded)).status == "failed"
    assert checkup.golden_episode(golden.Replay(1e-9, recorded + 9, recorded)).status == "failed"


def test_a_second_thread_is_worth_what_was_measured() -> None:
    assert "x1.80: faster" in checkup.stepping_threads(1000.0, 1800.0).found
    assert "x1.00: no gain here" in checkup.stepping_threads(1000.0, 1000.0).found


def test_without_a_simulator_the_other_lines_are_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hone.cli.checkup", None)
    (check,) = doctor.simulation()
    assert (check.name, check.status) == ("simulation", "failed")


def test_assets_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_LIBERO_ASSETS", "/nowhere")
    check = checkup.assets()
    assert check.status == "failed"
    assert "HONE_LIBERO_ASSETS" in check.todo


def test_a_folder_without_a_policy_fails_and_episodes_are_counted(tmp_path: Path) -> None:
    (check,) = checkup.check_policy(tmp_path, "libero_object", 0, 1, "standin")
    assert (check.name, check.status) == ("checkpoint", "failed")
    with pytest.raises(HoneError, match="episodes is 0"):
        list(checkup.check_policy(tmp_path, "libero_object", 0, 0, "standin"))


@pytest.mark.sim
def test_a_checkpoint_is_tried_in_the_simulator(tmp_path: Path) -> None:
    """An untrained policy with made-up statistics: its episodes fail, and the statistics are named."""
    policy = SmallPolicyConfig(inputs="state", chunk_length=30).build()
    tokens = np.zeros((4, 3, 11), np.float32)
    policy.fit_normalization(Observation(np.eye(4, 8, dtype=np.float32), ("",) * 4, state=tokens))
    policy.save_pretrained(tmp_path)
    checks = {check.name: check for check in checkup.check_policy(tmp_path, "libero_object", 0, 1, "standin")}
    failed = [name for name, check in checks.items() if check.status == "failed"]
    assert failed == ["episodes", "first inputs of normalizer"]
    assert checks["episodes"].found == "0 of 1 succeed"
    assert "gripper sign negated" in checks
    assert "pictures turned by 180 degrees" not in checks  # it sees none
