from hone.evaluation.report import render
from hone.evaluation.run_folder import RunFolder, RunLog, read_rows
from hone.evaluation.run_record import load_run


def row(iteration: int, claimed: bool, success: bool) -> dict[str, object]:
    return {"iteration": iteration, "task": "t", "proxy": 0.5 + 0.5 * claimed, "claimed": claimed, "success": success}


def audited(folder: RunFolder, hacked: int) -> str:
    with RunLog(folder, resume_after=1000, track=()) as log:
        for iteration in (1, 2, 3):
            log.audit([row(iteration, True, True)] * 10 + [row(iteration, True, False)] * hacked)
            log.audit([row(iteration, False, False)] * 5)
        revision = {"task": "t", "judge": "rules", "version": 1, "accepted": False, "diff": "+4. raise <soup>"}
        log.revision({"iteration": 3, **revision, "reasons": ["it claims 2 of 5 known failures."]})
    return render(load_run(folder.path))


def test_audit_is_in_the_report(run_folder: RunFolder) -> None:
    assert "Reward audit" not in render(load_run(run_folder.path))
    page = audited(run_folder, hacked=0)
    assert "Reward audit" in page
    assert "being hacked" not in page
    assert "Claimed and true success, and the hacking rate" in page
    assert "1 rewrites of reward programs were proposed, 0 accepted" in page
    assert "refused: it claims 2 of 5 known failures." in page
    assert "+4. raise &lt;soup&gt;" in page


def test_a_hacked_run_says_so(run_folder: RunFolder) -> None:
    page = audited(run_folder, hacked=10)
    assert "The reward is being hacked:" in page
    assert "50\u202f% of the 60 successes" in page


def test_a_resumed_run_drops_later_rows(run_folder: RunFolder) -> None:
    audited(run_folder, hacked=0)
    RunLog(run_folder, resume_after=2, track=()).close()
    assert {line["iteration"] for line in read_rows(run_folder.audit)} == {1, 2}
    assert read_rows(run_folder.revisions) == []
