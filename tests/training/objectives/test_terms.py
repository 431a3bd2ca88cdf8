from dataclasses import fields

import pytest
import tyro

from hone.cli import clone, eval, improve
from hone.errors import HoneError
from hone.training.behavior_cloning import LossTerm
from hone.training.objectives import MinimumErrorEntropy, PointwiseMutualInformation, Terms


def test_every_term_is_one_and_none_counts_unless_it_has_a_weight():
    assert all(isinstance(getattr(Terms(), field.name), LossTerm) for field in fields(Terms))
    assert Terms().chosen == ()
    both = Terms(MinimumErrorEntropy(0.01), PointwiseMutualInformation(0.1))
    assert both.chosen == (both.mee, both.pmi)
    assert Terms(pmi=both.pmi).chosen == (both.pmi,)
    with pytest.raises(HoneError, match=r"weight -1\.0"):
        PointwiseMutualInformation(-1.0)


def test_terms_past_and_sampling_are_reached_from_the_command_line():
    words = "--demos d --output p --training.terms.mee.weight 0.01 --network.past-length 8 network.head:flow"
    cloning = tyro.cli(clone.Config, args=words.split())
    assert cloning.training.terms == Terms(MinimumErrorEntropy(0.01))
    assert cloning.network.past_length == 8
    run = tyro.cli(improve.Config, args=["--clone.terms.pmi.weight", "0.1", "--steer-noise"]).run
    assert run.clone.terms == Terms(pmi=PointwiseMutualInformation(0.1))
    assert run.steer_noise
    words = "--policy p --decoding sampled --sampling.best-of 8 --sampling.choose past --sampling.trust 0.5"
    assert tyro.cli(eval.Config, args=words.split()).sampling.label == "best_of 8, choose past, trust 0.5"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--policy p --sampling.best-of 8", "greedy candidates are all the same"),
        (
            "--policy skills --sampling.execute 4",
            r"'skills' draws its chunks itself; leave out --sampling \(execute 4\)",
        ),
    ],
)
def test_sampling_that_can_do_nothing_is_refused(words: str, message: str):
    with pytest.raises(HoneError, match=message):
        eval.run(tyro.cli(eval.Config, args=words.split()))
