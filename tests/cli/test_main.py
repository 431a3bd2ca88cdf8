import errno
import importlib
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from hone import cli
from hone.errors import HoneError


def hone(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hone.cli", *arguments], capture_output=True, text=True, timeout=120)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in cli.VERBS)


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_every_verb_has_a_module_with_help(verb: str) -> None:
    module = importlib.import_module(f"hone.cli.{verb}")
    assert module.__doc__
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])


def test_unknown_verb_is_one_line_and_exit_code_2() -> None:
    done = hone("reprot", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hone: error: unknown command 'reprot'. Did you mean 'report'?")
    assert done.stderr.count("\n") == 1


def test_bad_input_of_a_verb_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = hone("report", str(tmp_path / "nothing"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hone: error: there is no run at")
    assert done.stderr.count("\n") == 1


def test_import_of_the_command_is_light() -> None:
    program = "import sys, hone.cli; print({'torch', 'mujoco', 'numpy', 'tyro', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def verb_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Put a verb in place of `report` whose only act is to fail."""

    @dataclass(frozen=True)
    class Config:
        """Nothing to set."""

    def run(config: Config) -> int:
        raise error

    fake = types.ModuleType("hone.cli.report", "A verb that fails.")
    vars(fake).update(Config=Config, run=run, resume_hint=lambda config: "resume with: hone report --resume")
    monkeypatch.setitem(sys.modules, "hone.cli.report", fake)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "hone: interrupted; resume with: hone report --resume.\n"),
        (HoneError("first\n   second"), 2, "hone: error: first second\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.bin"),
            2,
            "hone: error: the disk is full (writing a.bin). Free some space, then resume with: hone report --resume.\n",
        ),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
) -> None:
    verb_that_raises(monkeypatch, error)
    assert cli.main(["report"]) == code
    assert capsys.readouterr().err == message


def test_what_nobody_expected_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    verb_that_raises(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["report"])
