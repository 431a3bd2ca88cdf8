import numpy as np
import pytest

from hone.envs.libero.suites import SUITES, tasks
from hone.language.paraphrase import ACTIONS, FRAMES, THINGS, paraphrase

SOUP = "pick up the alphabet soup and place it in the basket"


def said(level: int, seeds: int = 40, instruction: str = SOUP) -> set[str]:
    return {paraphrase(instruction, level, np.random.default_rng(seed)) for seed in range(seeds)}


def test_levels_change_verbs_then_the_sentence_then_the_things() -> None:
    assert said(1) <= {
        f"{pick} the alphabet soup and {place} it in the basket"
        for pick in ACTIONS["pick up"]
        for place in ACTIONS["place"]
    }
    assert len(said(1)) > 6
    starts = tuple(frame.split("{")[0] for frame in FRAMES)
    assert all(sentence.startswith(starts) and "alphabet soup" in sentence for sentence in said(2))
    assert all("soup" in sentence and "the basket" not in sentence for sentence in said(3))


def test_the_same_draw_gives_the_same_words() -> None:
    assert paraphrase(SOUP, 3, np.random.default_rng(1)) == paraphrase(SOUP, 3, np.random.default_rng(1))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_no_instruction_of_libero_stays_as_it_is(level: int) -> None:
    for suite in SUITES:
        for task in tasks(suite):
            for sentence in said(level, 3, task.instruction):
                assert sentence != task.instruction
                # what says which thing is meant, stays
                for word in ("black", "white", "left", "right", "middle", "top", "bottom", "between"):
                    assert word not in task.instruction.split() or word in sentence.split()


def test_two_things_never_get_the_same_name() -> None:
    names = [name for own, others in THINGS.items() if own != "cream cheese" for name in (own, *others)]
    assert len(names) == len(set(names))
