"""What a run does not show, said beside what it shows. Derived from the record, so that nobody has to remember it."""

from __future__ import annotations

from hone.envs.libero.suites import STEP_CAPS
from hone.evaluation.run_record import RunRecord
from hone.evaluation.stats import detectable_difference


def caveats(run: RunRecord) -> list[str]:
    """Sentences, the most important first."""
    notes: list[str] = []
    last = run.after or run.before
    if run.after is None:
        notes.append("The run did not reach its final evaluation. Nothing here is a result.")
    notes.append(
        "This is one training run. Another seed would give another number; "
        "a claim about the method needs several, named beforehand."
    )
    if last is not None:
        card = last.protocol
        count = "task" if len(card.tasks) == 1 else f"{len(card.tasks)} tasks"
        notes.append(
            f"The policy was trained and tested on the same {count}. Placements in the test were not seen in training, "
            "but come from the same regions of the table. Other tasks, objects and rooms were not tried."
        )
        if card.privilege != "none":
            notes.append(f"The policy was given {card.privilege}, which no robot could see. It is not an image policy.")
        if card.planner:
            notes.append(
                f"Decisions were looked ahead of ({card.planner.split(';')[0]}): what is named under Planner below was "
                "seen for it. Where a copy of the simulator was tried things in, no robot has such a copy."
            )
        if card.asset_pack.startswith("standin"):
            notes.append(
                "Objects are simple stand-in shapes in LIBERO's layout. The score is not comparable with published "
                "scores, which use LIBERO's own meshes."
            )
        if card.placement_kind == "sampled":
            notes.append("The test used freshly sampled placements and not the suite's official ones.")
        published = STEP_CAPS.get(card.suite)
        if published is not None and card.step_cap != published:
            notes.append(
                f"Episodes could last {card.step_cap} steps; published scores on {card.suite} use {published}."
            )
        notes += _held(run)
    difference = run.difference
    if difference is not None:
        smallest = 100 * min(1.0, detectable_difference(difference.pairs))
        notes.append(
            f"With {difference.pairs} paired episodes, a true difference below about {smallest:.0f} points "
            "would often be missed."
        )
    notes += _probes(run)
    if run.evaluations:
        notes.append(
            "The points of the curve were measured in the training environment, with fewer episodes and other "
            "placements than the evaluations before and after."
        )
    faults = sum(result.summary()["faults"] for result in (run.before, run.after) if result is not None)
    if faults:
        episodes = "episode" if faults == 1 else "episodes"
        notes.append(f"{faults} {episodes} ended in a fault of the machinery and count in none of the rates.")
    commit = run.summary.get("commit") or (last.commit if last is not None else "unknown")
    if commit.endswith("+dirty"):
        notes.append(
            "The code had changes that are not in the commit named below, so the run cannot be repeated exactly."
        )
    return notes


def _held(run: RunRecord) -> list[str]:
    last = run.after or run.before
    assert last is not None
    tally = last.summary()
    if tally["held_rate"] is None:
        return ["Whether a success lasted after the gripper let go was not looked at."]
    lost = tally["success_rate"] - tally["held_rate"]
    if lost < 0.005:
        return []
    return [
        "An episode counts as solved at the first moment its goal is true. "
        f"In {100 * lost:.0f} of 100 episodes that moment did not last."
    ]


def _probes(run: RunRecord) -> list[str]:
    """Whether the policy listens, as far as the probes can tell: is success lower with the wrong instruction?"""
    if "other_task" not in run.probes or "normal" not in run.probes:
        return ["Language probes were not run, so it is not known whether the policy heeds its instruction."]
    normal, other = run.probes["normal"], run.probes["other_task"]
    if other["high"] < normal["low"]:
        return []
    return [
        "Told to do another task, the policy still did this one about as often. "
        "It may be reading the scene and not the instruction."
    ]
