"""Flow and equilibrium matching on linear fields, where every step, marginal and likelihood is known in closed form."""

import math
from dataclasses import replace

import pytest
import torch
from head_toys import SPACE, A, H, generators, make_features

from hone.errors import HoneError
from hone.policies import Candidate, Features
from hone.policies.heads import ChunkSpace, EqMHead, EqMHeadConfig, FlowHead, FlowHeadConfig, SamplingHooks
from hone.policies.heads.chain import DRAWN, SKIPPED, STOPPED, ChainHead
from hone.policies.heads.eqm import truncated_decay
from hone.policies.heads.field import Field
from hone.policies.heads.flow import Chain, Prediction, beta_times

MEAN, STD = 0.3, 0.5
NUMBER = ChunkSpace(1, 1, -100.0, 100.0)


class GaussianVelocity(Field):
    """The best velocity for data `a ~ N(MEAN, STD^2)`: `E[a - eps | x_t]`, linear in `x`."""

    def condition(self, features: Features) -> Features:
        return features

    def forward(self, x, time, given):
        assert time is not None
        t = time[:, None, None]
        slope = (t * STD**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * STD**2)
        return MEAN + slope * (x - t * MEAN)


class Spring(Field):
    """`f(x) = stiffness (x - MEAN)`."""

    stiffness = 10.0

    def condition(self, features: Features) -> Features:
        return features

    def forward(self, x, time, given):
        return self.stiffness * (x - MEAN)


def flow(steps: int, space: ChunkSpace = NUMBER, exploration: float = 1e-6, chain: Chain = "flow_noise") -> FlowHead:
    return FlowHead(GaussianVelocity(), space, steps=steps, exploration=exploration, chain=chain)


PUBLISHED = EqMHeadConfig(hidden_sizes=(8,), predicts="gradient", decay_start=0.8, step_size=0.05)


def descent(space: ChunkSpace = NUMBER, **changes) -> EqMHead:
    head = replace(PUBLISHED, **changes).build(4, space)
    head.field = Spring()
    return head


def draw(head: ChainHead, rows: int, k: int, hooks: SamplingHooks | None = None):
    with torch.no_grad():
        return head.sample(make_features(rows), k, generators(rows), hooks or SamplingHooks())


def test_euler_steps_approach_the_transport_of_a_gaussian():
    # The flow between N(0, 1) and N(m, s^2) carries x to m + s x.
    found = draw(flow(300), 1, 50).samples[0, :, :, 0]
    torch.testing.assert_close(found[:, -1], MEAN + STD * found[:, 0], atol=0.02, rtol=0)


class GaussianChunk(GaussianVelocity):
    """The chunk that the best velocity is heading for: `E[a | x_t] = x_t + (1 - t) v`."""

    def forward(self, x, time, given):
        return x + (1 - time[:, None, None]) * super().forward(x, time, given)


@pytest.mark.parametrize("chain", ["flow_noise", "single_step"])
def test_predicting_the_chunk_is_the_same_flow(chain: Chain):
    velocity = flow(7, exploration=0.3, chain=chain)
    chunk = FlowHead(GaussianChunk(), NUMBER, steps=7, exploration=0.3, chain=chain, predicts="chunk")
    torch.testing.assert_close(draw(chunk, 2, 50).samples, draw(velocity, 2, 50).samples)


class Shifted(Field):
    """Another field, off by 0.2 everywhere."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field

    def condition(self, features: Features) -> Features:
        return self.field.condition(features)

    def forward(self, x, time, given):
        return self.field(x, time, given) + 0.2


@pytest.mark.parametrize(("predicts", "best"), [("chunk", GaussianChunk()), ("velocity", GaussianVelocity())])
def test_the_conditional_mean_has_the_least_loss(predicts: Prediction, best: Field):
    features, mask = make_features(20_000), torch.ones(20_000, 1, dtype=torch.bool)
    actions = MEAN + STD * torch.randn(20_000, 1, 1, generator=torch.Generator().manual_seed(1))
    losses = []
    for field in (best, Shifted(best)):
        head = FlowHead(field, NUMBER, steps=7, exploration=0.3, chain="flow_noise", predicts=predicts)
        losses.append(head.loss(features, actions, mask, torch.Generator().manual_seed(0)))
    # The same draws in both, so they differ by 0.2^2 and 0.4 times the mean of 20,000 errors.
    assert abs(losses[1] - losses[0] - 0.04) < 0.01


def test_the_sde_has_the_marginals_of_the_flow():
    class EveryStep(FlowHead):
        def drawn_steps(self, generators, rows, k, first):
            return torch.ones(rows, k, self.steps, dtype=torch.bool)

    head = EveryStep(GaussianVelocity(), NUMBER, steps=200, chain="single_step", exploration=1.5)
    chunks = draw(head, 1, 20_000).samples[0, :, -1, 0]
    # Standard errors: 0.0035 for the mean, 0.0025 for the deviation. Without the drift's correction it would be 1.0.
    assert abs(chunks.mean().item() - MEAN) < 0.02
    assert abs(chunks.std().item() - STD) < 0.02
    starts = draw(head, 1, 20_000).samples[0, :, 0, 0]
    correlation = torch.corrcoef(torch.stack([starts, chunks]))[0, 1].item()
    assert correlation < 0.9  # it is the noise that makes the spread, not only the start


def test_single_step_draws_one_step_and_greedy_none():
    head = flow(5, SPACE, 0.3, chain="single_step")
    marks = draw(head, 3, 400).samples[..., 1:, -1]
    assert ((marks == DRAWN).sum(-1) == 1).all()
    shares = (marks == DRAWN).float().mean((0, 1))
    assert (shares - 0.2).abs().max() < 0.05  # 1200 draws: standard error 0.012
    with torch.no_grad():
        greedy = head.sample(make_features(3), 1, None)
    assert not (greedy.samples[..., -1] == DRAWN).any()


@pytest.mark.parametrize("head", [flow(2, exploration=0.4), descent(steps=2, residual=0.0, exploration=0.4)])
def test_likelihood_of_the_path_integrates_to_the_known_end(head):
    # Two steps of an affine map with noise: x_2 | x_0 is Gaussian. Integrate the path density over x_1 numerically.
    x0, x2 = torch.tensor(-0.7), torch.tensor(0.5)
    one, two = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    features, yes = make_features(1), torch.ones(1, dtype=torch.bool)

    def mean(x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        return head.mean(x.reshape(1, 1, 1), x.reshape(1, 1, 1), step, yes, features)[0].squeeze()

    slope = mean(torch.tensor(1.0), two) - mean(torch.tensor(0.0), two)
    variance = head.std(two)[0] ** 2 + (slope * head.std(one)[0]) ** 2
    expected = torch.distributions.Normal(mean(mean(x0, one), two), variance.sqrt()).log_prob(x2)

    grid = torch.linspace(-4, 4, 801)
    samples = torch.zeros(801, 3, 2)
    samples[:, 0, 0], samples[:, 1, 0], samples[:, 2, 0] = x0, grid, x2
    samples[:, 1:, 1] = DRAWN
    wide = features[torch.zeros(801, dtype=torch.long)]
    log_prob = head.log_prob(wide, Candidate(torch.zeros(801, 1, 1), samples))
    assert log_prob.kind == "surrogate"
    found = torch.logsumexp(log_prob.total, 0) + math.log(8 / 800)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


class Straight(Field):
    """The velocity that leads straight to a chunk: from anywhere, and at any time."""

    def condition(self, features: Features) -> Features:
        return features

    def forward(self, x, time, given):
        assert time is not None
        return (MEAN - x) / (1 - time[:, None, None])


def test_a_straight_flow_stops_where_it_is_heading():
    for residual, evaluations in ((0.0, 20), (1e-3, 2)):
        head = FlowHead(Straight(), SPACE, steps=20, exploration=1e-6, chain="flow_noise", residual=residual)
        greedy = head.sample(make_features(2), 1, None)
        torch.testing.assert_close(greedy.chunks, torch.full((2, 1, H, A), MEAN), atol=1e-5, rtol=0)
        assert (head.evaluations(greedy.samples) == evaluations).all()
        assert bool(head.settled(greedy.samples).all()) == (residual > 0)
    warm = head.warm(torch.randn(2, 1, 21, H, A), torch.full((2, 1, H, A), MEAN), trust=1.0)
    assert (head.evaluations(head.sample(make_features(2), 1, None, SamplingHooks(lambda *_: warm)).samples) == 1).all()


def test_times_follow_pi_zeros_beta_distribution():
    times = beta_times(20_000, torch.Generator().manual_seed(0))
    noise_level = ((1 - times - 0.001) / 0.999).sort().values
    # The distribution function of Beta(1.5, 1) is u^1.5; the largest deviation of 20000 draws is about 0.01.
    torch.testing.assert_close(noise_level**1.5, torch.linspace(0, 1, 20_000), atol=0.02, rtol=0)
    assert times.min() >= 0


def test_descent_contracts_as_a_spring_does_and_stops_by_the_residual():
    # x - m shrinks by 1 - eta k = 0.5 a step; the residual is k |x - m|, and it stops where that is below 0.1.
    head = descent(SPACE, residual=0.1, steps=30)
    with torch.no_grad():
        greedy = head.sample(make_features(2), 1, None)
    start = (head.greedy_start - MEAN).square().mean().sqrt()
    steps = math.ceil(math.log2(10.0 * start / 0.1))
    expected = MEAN + 0.5**steps * (head.greedy_start - MEAN)
    torch.testing.assert_close(greedy.samples[0, 0, -1, :-1].unflatten(-1, (H, A)), expected, atol=1e-6, rtol=1e-5)
    assert head.evaluations(greedy.samples).flatten().tolist() == [steps + 1] * 2
    assert head.settled(greedy.samples).all()


def test_descent_is_bounded_where_the_threshold_never_triggers():
    never = descent(SPACE, residual=0.0, steps=7, exploration=1e-6)
    samples = draw(never, 3, 2).samples
    assert (never.evaluations(samples) == 7).all()
    assert not never.settled(samples).any()
    at_once = descent(SPACE, residual=1e9, steps=7)
    samples = draw(at_once, 3, 2).samples
    assert (at_once.evaluations(samples) == 1).all()
    assert at_once.settled(samples).all()
    assert (samples[..., 1, -1] == STOPPED).all()
    assert (samples[..., 2:, -1] == SKIPPED).all()
    # Exploration 0.1 keeps a residual of 10 x 0.1: the threshold is out of reach, and the budget holds.
    noisy = descent(SPACE, residual=0.01, steps=7, exploration=0.1)
    assert (noisy.evaluations(draw(noisy, 3, 50).samples) == 7).all()


def test_few_steps_may_cross_the_whole_way_and_many_must_settle():
    assert replace(PUBLISHED, steps=2, step_size=1 / 8).step_size == 0.125
    with pytest.raises(HoneError, match=r"0 < step_size < 0\.1"):
        replace(PUBLISHED, steps=3, step_size=1 / 8)


def test_noisy_descent_has_the_variance_of_an_autoregression():
    head = descent(residual=0.0, steps=30, exploration=0.2)
    chunks = draw(head, 1, 20_000).samples[0, :, -1, 0]
    assert abs(chunks.std().item() - 0.2 / math.sqrt(1 - 0.5**2)) < 0.005  # standard error 0.0012
    assert abs(chunks.mean().item() - MEAN) < 0.01


def test_nesterov_is_the_papers_recursion():
    head = descent(SPACE, solver="nesterov", momentum=0.3, residual=0.0, steps=6)
    with torch.no_grad():
        found = head.sample(make_features(1), 1, None).samples[0, 0, -1, :-1].unflatten(-1, (H, A))
    x, m = head.greedy_start, torch.zeros(H, A)
    for _ in range(6):
        m = -Spring.stiffness * (x + 0.05 * 0.3 * m - MEAN)
        x = x + 0.05 * m
    torch.testing.assert_close(found, x, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("decay_start", [0.0, 0.8])
def test_predicting_the_chunk_is_the_same_descent(decay_start: float):
    gradient = descent(SPACE, decay_start=decay_start, residual=0.2)
    chunk = descent(SPACE, decay_start=decay_start, residual=0.2, predicts="chunk")

    class Arrival(Spring):
        def forward(self, x, time, given):
            return x - super().forward(x, time, given) / chunk.stiffness

    chunk.field = Arrival()
    with torch.no_grad():
        chunk.greedy_start.copy_(gradient.greedy_start)
    torch.testing.assert_close(draw(chunk, 2, 50).samples, draw(gradient, 2, 50).samples)
    # And the errors are the same but for their unit.
    features, actions = make_features(4), torch.zeros(4, H, A)
    errors = [head.errors(features, actions, torch.Generator().manual_seed(0)) for head in (gradient, chunk)]
    torch.testing.assert_close(errors[0], -chunk.stiffness * errors[1], atol=1e-5, rtol=1e-4)


def test_a_linear_decay_makes_the_chunk_itself_what_is_predicted():
    head = EqMHeadConfig(hidden_sizes=(8,)).build(4, SPACE)
    head.field = Spring()
    head.field.stiffness = 0.0  # says 0 everywhere
    actions = torch.rand(3, H, A)
    torch.testing.assert_close(head.errors(make_features(3), actions, torch.Generator()), -actions)


@pytest.mark.parametrize("head", [flow(4, SPACE, 0.2), descent(SPACE, steps=4, residual=0.0)])
def test_a_warm_start_makes_only_the_last_steps(head):
    start = torch.full((H, A), 0.25)

    def warm(noise: torch.Tensor, _: Features) -> torch.Tensor:
        noise = noise[:, :, 2:].clone()
        noise[:, :, 0] = start
        return noise

    samples = draw(head, 3, 2, SamplingHooks(before=warm)).samples
    assert samples.shape == (3, 2, 5, H * A + 1)
    assert (samples[:, :, 2, :-1] == 0.25).all()
    assert (head.evaluations(samples) == 2).all()
    log_prob = head.log_prob(make_features(3), Candidate(torch.zeros(3, H, A), samples[:, 0]))
    assert log_prob.mask.tolist() == [[False, False, True, True]] * 3
    with pytest.raises(HoneError, match="noise for 0 steps"):
        draw(head, 3, 2, SamplingHooks(before=lambda noise, _: noise[:, :, :1]))


def test_truncated_decay():
    gamma = torch.tensor([0.0, 0.5, 0.8, 0.9, 1.0])
    torch.testing.assert_close(truncated_decay(gamma, 4.0, 0.8), torch.tensor([4.0, 4.0, 4.0, 2.0, 0.0]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: replace(PUBLISHED, step_size=0.12), r"settles only for 0 < step_size < 0.1 "),
        (lambda: EqMHeadConfig(residual=-1.0), "not negative"),
        (lambda: FlowHeadConfig(steps=0).build(4, SPACE), "needs at least 1"),
        (lambda: FlowHeadConfig(hidden_sizes=()).build(4, SPACE), "at least one hidden layer"),
    ],
)
def test_bad_configurations(config, message):
    with pytest.raises(HoneError, match=message):
        config()


def test_a_loss_that_draws_noise_asks_for_a_generator():
    head = FlowHeadConfig(hidden_sizes=(8,)).build(4, SPACE)
    with pytest.raises(HoneError, match="pass a generator"):
        head.loss(make_features(2), torch.zeros(2, H, A), torch.ones(2, H, dtype=torch.bool))
