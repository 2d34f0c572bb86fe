"""The schedules against PyTorch's own schedulers."""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from gazeseg.config import TrainConfig
from gazeseg.errors import ConfigError
from gazeseg.train.optim import build_optimizer, lr_at

TOTAL = 40
REFERENCES = {
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=TOTAL, eta_min=0.01),
    "constant": lambda o: lr_scheduler.ConstantLR(o, factor=1.0),
    "one_cycle": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=0.5, total_steps=TOTAL, final_div_factor=2.0, cycle_momentum=False
    ),  # initial = max / 25 = .02, final = initial / 2 = .01
}


@pytest.mark.parametrize("schedule", sorted(REFERENCES))
def test_schedule_equals_torch(schedule):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = REFERENCES[schedule](optimizer)
    config = TrainConfig(iterations=TOTAL, lr=0.5, lr_min=0.01, schedule=schedule)
    for step in range(TOTAL):
        assert lr_at(step, config) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_poly_with_zero_floor_equals_torch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = lr_scheduler.PolynomialLR(optimizer, total_iters=TOTAL, power=0.9)
    config = TrainConfig(iterations=TOTAL, lr=0.5, lr_min=0.0, schedule="poly")
    for step in range(TOTAL):
        assert lr_at(step, config) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_warmup_rises_linearly_then_cosine_starts_at_the_peak():
    config = TrainConfig(iterations=100, lr=1.0, lr_min=0.0, warmup=0.1)
    assert [lr_at(step, config) for step in range(10)] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert lr_at(10, config) == 1.0
    assert lr_at(55, config) == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", ["cosine", "poly", "one_cycle", "constant"])
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_shortest_runs_have_a_rate(schedule, iterations):
    config = TrainConfig(iterations=iterations, lr=0.1, lr_min=0.01, schedule=schedule, warmup=0.5)
    assert all(0 < lr_at(step, config) <= 0.1 + 1e-12 for step in range(iterations))


def test_optimizers_leave_frozen_parameters_out():
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    learning = nn.Parameter(torch.zeros(3))
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    for name, kind in kinds.items():
        optimizer = build_optimizer([frozen, learning], TrainConfig(optimizer=name), fused=False)
        assert type(optimizer) is kind
        assert optimizer.param_groups[0]["params"] == [learning]
        assert optimizer.param_groups[0]["weight_decay"] == 4e-4
    sgd = build_optimizer([learning], TrainConfig(), fused=False).param_groups[0]
    assert (sgd["momentum"], sgd["nesterov"]) == (0.99, True)


def test_nothing_to_learn_is_an_error():
    with pytest.raises(ConfigError, match="no parameter"):
        build_optimizer([], TrainConfig(), fused=False)
