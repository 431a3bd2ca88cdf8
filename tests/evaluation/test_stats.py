import numpy as np
import pytest

from hone.evaluation.stats import Difference, detectable_difference, paired_bootstrap, verdict, wilson_interval


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        # Closed form at p = 1/2: half-width z / (2 sqrt(n + z²)), with z² = 3.841459.
        (5, 10, 0.5 - 1.959964 / (2 * 13.841459**0.5), 0.5 + 1.959964 / (2 * 13.841459**0.5)),
        # At no success the interval is [0, z² / (n + z²)], and mirrored at n.
        (0, 10, 0.0, 3.841459 / 13.841459),
        (10, 10, 10 / 13.841459, 1.0),
        # Newcombe 1998 (Stat. Med. 17:857), table I, method 3: 81 of 263 and 15 of 148.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
    ],
)
def test_wilson_interval_has_the_published_values(successes: int, episodes: int, low: float, high: float) -> None:
    # Half of the last printed digit.
    assert wilson_interval(successes, episodes) == pytest.approx((low, high), abs=6e-5)


def test_wilson_interval_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_interval_refuses_impossible_counts() -> None:
    with pytest.raises(ValueError, match="11 successes in 10"):
        wilson_interval(11, 10)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.95])
def test_wilson_interval_covers_the_truth_about_as_often_as_it_says(rate: float) -> None:
    wins = np.random.default_rng(0).binomial(150, rate, size=4000)
    bounds = {int(count): wilson_interval(int(count), 150) for count in np.unique(wins)}
    covered = np.mean([bounds[int(count)][0] <= rate <= bounds[int(count)][1] for count in wins])
    # Coverage of a discrete interval oscillates around 95 %; 0.7 % is two standard errors of the simulation.
    assert 0.93 < covered < 0.975


def test_paired_bootstrap_of_equal_results_is_exactly_zero() -> None:
    won = np.random.default_rng(0).random(80) < 0.6
    assert paired_bootstrap(won, won) == Difference(0.0, 0.0, 0.0, 80)


def test_paired_bootstrap_agrees_with_resampling_rows() -> None:
    generator = np.random.default_rng(3)
    before, after = generator.random(120) < 0.5, generator.random(120) < 0.7
    quick = paired_bootstrap(before, after, seed=1)
    rows = generator.integers(0, 120, size=(20_000, 120))
    slow = (after[rows].astype(float) - before[rows]).mean(axis=1)
    # Both quantiles are multiples of 1/120; two of those cover the noise of 20 000 resamples.
    assert (quick.low, quick.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=2 / 120)
    assert quick.mean == pytest.approx(after.mean() - before.mean())


def test_pairing_narrows_the_interval() -> None:
    before = np.arange(200) < 100
    after = np.arange(200) < 120  # the same placements, and twenty more
    shuffled = np.random.default_rng(0).permutation(after)
    paired, unpaired = paired_bootstrap(before, after), paired_bootstrap(before, shuffled)
    assert paired.mean == pytest.approx(unpaired.mean)
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_strata_keep_each_task_at_its_own_size() -> None:
    # One task always gained, the other never: resampled within tasks there is nothing left to vary.
    before, after = np.zeros(40, bool), np.arange(40) < 20
    tasks = ["a"] * 20 + ["b"] * 20
    stratified = paired_bootstrap(before, after, tasks=tasks)
    assert (stratified.mean, stratified.low, stratified.high) == (0.5, 0.5, 0.5)
    assert paired_bootstrap(before, after).low < 0.4


def test_paired_bootstrap_is_reproducible() -> None:
    before, after = np.arange(50) % 2 == 0, np.arange(50) % 3 > 0
    assert paired_bootstrap(before, after, seed=7) == paired_bootstrap(before, after, seed=7)


def test_paired_bootstrap_needs_pairs() -> None:
    with pytest.raises(ValueError, match="2 task names for 3 pairs"):
        paired_bootstrap(np.ones(3, bool), np.ones(3, bool), tasks=["a", "b"])
    with pytest.raises(ValueError, match="at least one pair"):
        paired_bootstrap(np.ones(0, bool), np.ones(0, bool))


def test_detectable_difference_is_as_the_rules_of_evidence_state_it() -> None:
    assert detectable_difference(100) == pytest.approx(0.125, abs=0.005)
    assert detectable_difference(500) == pytest.approx(0.056, abs=0.005)
    assert detectable_difference(0) > 1


def test_detectable_difference_is_found_with_the_power_it_claims() -> None:
    # 400 pairs that disagree on a fifth of the placements, gained minus lost being the detectable difference.
    pairs, discordance = 400, 0.2
    gap = detectable_difference(pairs, discordance=discordance)
    generator = np.random.default_rng(0)
    shares = [(discordance - gap) / 2, 1 - discordance, (discordance + gap) / 2]
    lost, same, gained = generator.multinomial(pairs, shares, size=300).T
    found = 0
    for minus, equal, plus in zip(lost, same, gained, strict=True):
        before = np.repeat([True, False, False], [minus, equal, plus])
        after = np.repeat([False, False, True], [minus, equal, plus])
        found += paired_bootstrap(before, after, resamples=1000).low > 0
    assert 0.73 < found / 300 < 0.88  # 0.8, three standard errors of the simulation, and the normal approximation


@pytest.mark.parametrize(
    ("mean", "low", "high", "pairs", "expected"),
    [
        (0.3, 0.2, 0.4, 150, "win"),
        (-0.3, -0.4, -0.2, 150, "loss"),
        (0.3, -0.01, 0.6, 150, "inconclusive"),
        (0.05, 0.01, 0.09, 150, "inconclusive"),  # the interval excludes zero, but 150 pairs cannot show 5 points
        (0.05, 0.03, 0.07, 1500, "win"),
        (1.0, 1.0, 1.0, 5, "inconclusive"),  # no spread; by the sign test five wins out of five have p = 0.06
        (1.0, 1.0, 1.0, 10, "win"),
    ],
)
def test_verdict(mean: float, low: float, high: float, pairs: int, expected: str) -> None:
    assert verdict(Difference(mean, low, high, pairs)) == expected
