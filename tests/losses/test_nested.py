import torch

from gazeseg.losses import broad_target, narrow_target, partial_cross_entropy, ring
from gazeseg.types import IGNORE

LEVELS = torch.tensor([[[[1, 0, 0, 1, IGNORE, 2]], [[1, 1, 0, IGNORE, IGNORE, 2]]]])  # (1, 2, 1, 6)


def test_by_hand():
    assert narrow_target(LEVELS).tolist() == [[[1, IGNORE, 0, IGNORE, IGNORE, 2]]]
    assert narrow_target(LEVELS, background="all").tolist() == [[[1, 0, 0, IGNORE, IGNORE, 2]]]
    assert broad_target(LEVELS).tolist() == [[[1, 1, 0, IGNORE, IGNORE, 2]]]
    assert ring(LEVELS).tolist() == [[[False, True, False, False, False, False]]]


def test_the_order_of_the_levels_plays_no_part():
    for make in (narrow_target, broad_target, ring):
        assert torch.equal(make(LEVELS), make(LEVELS.flip(1)))


def test_one_level_has_no_ring():
    one = LEVELS[:, :1]
    assert torch.equal(narrow_target(one), broad_target(one))
    assert not ring(one).any()


def test_the_ring_gives_no_gradient():
    logits = torch.randn(1, 3, 1, 6, requires_grad=True)
    [gradient] = torch.autograd.grad(partial_cross_entropy(logits, narrow_target(LEVELS)), logits)
    labelled = (gradient != 0).any(dim=1)[0, 0]
    assert labelled.tolist() == [True, False, True, False, False, True]
