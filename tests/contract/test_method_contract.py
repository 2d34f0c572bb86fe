import pytest
import torch

from gazeseg.methods import available, create
from gazeseg.methods.base import StepOutput
from gazeseg.methods.contract import NETWORK, ContractError, check_method, make_batch
from gazeseg.methods.full import Full


@pytest.mark.parametrize("name", available())
def test_every_method_keeps_the_contract(name):
    check_method(available()[name])


@pytest.mark.parametrize("name", available())
def test_one_seed_gives_equal_weights_after_training(name):
    ends = []
    for _ in range(2):
        method = create({"name": name}, network=NETWORK, in_channels=3, num_classes=2, levels=2, seed=5)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
        for step in range(2):
            batch = make_batch(method.needs, in_channels=3, num_classes=2, seed=step)
            torch.stack(list(method.training_step(batch, step).losses.values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(method.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


class _CallsBackward(Full):
    def training_step(self, batch, step):
        out = super().training_step(batch, step)
        out.losses["ce"].backward(retain_graph=True)
        return out


class _Logits(Full):
    def predict(self, images):
        return self.network(images)


class _WantsNonsense(Full):
    needs = frozenset({"masks"})


class _Unweighted(Full):
    def training_step(self, batch, step):
        return StepOutput({"ce": self.network(batch.image)})


class _Careless(Full):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.extra = torch.nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (_CallsBackward, "only the trainer calls backward"),
        (_Logits, "predict must return"),
        (_WantsNonsense, "no fields of Batch"),
        (_Unweighted, "must be a scalar"),
        (_Careless, "global random state"),
    ],
)
def test_a_broken_method_is_told_its_rule(broken, rule):
    with pytest.raises(ContractError, match=rule):
        check_method(broken)
