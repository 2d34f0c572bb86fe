import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch._subclasses.fake_tensor import FakeTensorMode

from gazeseg.losses import random_blocks
from gazeseg.losses.darm import BLOCK_AREA, RADII_PX, block_budget


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _rings(width=8, count=4, size=96):
    """Discs' borders of some width, one an image, of different radii."""
    y, x = np.mgrid[:size, :size]
    masks = []
    for i in range(count):
        distance = np.hypot(y - size / 2, x - size / 2)
        masks.append((distance >= 12 + 5 * i) & (distance < 12 + 5 * i + width))
    return torch.from_numpy(np.stack(masks))[:, None]


def _blocks(mask, seed=0, **options):
    return random_blocks(mask, **{"rho": 0.3, **options}, generator=_generator(seed))


def test_the_mean_block_has_55_pixels():
    assert BLOCK_AREA == 55
    assert [RADII_PX.count(radius) for radius in range(1, 6)] == [1, 2, 2, 2, 1]


def test_blocks_are_squares_with_centres_inside():
    """One block in a large image: a square of a published width around a pixel of the disagreement."""
    widths = []
    for seed in range(200):
        mask = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
        mask[0, 0, 20, 17:24] = True
        hidden = _blocks(mask, seed)[0, 0].nonzero()
        (top, left), (bottom, right) = hidden.amin(0).tolist(), hidden.amax(0).tolist()
        width = bottom - top + 1
        assert len(hidden) == width**2 == (right - left + 1) ** 2
        assert top + width // 2 == 20
        assert 17 <= left + width // 2 < 24
        widths.append(width)
    counts = np.array([widths.count(width) for width in (3, 5, 7, 9, 11)])
    assert counts.sum() == 200
    np.testing.assert_allclose(counts / 200, np.array([1, 2, 2, 2, 1]) / 8, atol=0.08)


def test_equals_squares_drawn_one_by_one():
    """The running sums cover exactly the union of the blocks; centres and widths are drawn again here."""
    mask, generator = _rings(), _generator(5)
    number, most = block_budget(mask.flatten(1), rho=0.3)
    score = torch.rand(mask.flatten(1).shape, generator=generator) + 1
    centre = (score * mask.flatten(1)).topk(most, dim=1).indices
    which = torch.randint(len(RADII_PX), centre.shape, generator=generator)
    expected = np.zeros((4, 96, 96), bool)
    for image in range(4):
        for k in range(int(number[image])):
            (y, x), r = divmod(int(centre[image, k]), 96), RADII_PX[int(which[image, k])]
            expected[image, max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1] = True
    assert np.array_equal(_blocks(mask, 5)[:, 0].numpy(), expected)


def test_nothing_is_hidden_far_from_the_disagreement():
    mask = _rings()
    hidden = _blocks(mask)
    near = ndimage.binary_dilation(mask.numpy(), np.ones((1, 1, 11, 11)))
    assert hidden.any(dim=(1, 2, 3)).all()
    assert not (hidden.numpy() & ~near).any()
    assert not (_blocks(mask, clip=True) & ~mask).any()


def test_every_image_keeps_its_own_budget():
    mask = _rings()
    number, most = block_budget(mask.flatten(1), rho=0.3)
    pixels = mask.sum(dim=(1, 2, 3))
    assert number.tolist() == [math.ceil(-math.log(0.7) * int(n) / (55 * 0.8)) for n in pixels]
    assert number.max() <= most
    seeds_alone = [_blocks(mask[i : i + 1], clip=True).sum() / mask[i].sum() for i in range(4)]
    assert all(0.1 < share < 0.5 for share in seeds_alone)


@pytest.mark.parametrize("width", [6, 12])
def test_about_the_asked_share_of_the_disagreement_is_hidden(width):
    """29 to 35 % for rings of 6 px and more, as measured when the budget was designed."""
    mask = _rings(width)
    shares = [((_blocks(mask, seed) & mask).sum() / mask.sum()).item() for seed in range(60)]
    assert 0.28 < np.mean(shares) < 0.36


def test_the_released_budget_counts_the_batch_and_hides_less():
    mask = _rings()
    rows = mask.reshape(1, -1)
    number, most = block_budget(rows, rho=0.3, budget="batch")
    assert number.tolist() == [math.ceil(0.3 * int(mask.sum()) / 55)]
    assert number.max() <= most
    shares = [((_blocks(mask, seed, budget="batch") & mask).sum() / mask.sum()).item() for seed in range(60)]
    assert 0.14 < np.mean(shares) < 0.25


def test_the_released_budget_may_leave_an_image_out_but_never_touches_an_empty_one():
    mask = torch.cat([_rings(count=1), torch.zeros(1, 1, 96, 96, dtype=torch.bool)])
    hidden = _blocks(mask, budget="batch")
    assert hidden[0].any()
    assert not hidden[1].any()


def test_an_empty_disagreement_hides_nothing():
    mask = torch.zeros(2, 1, 40, 40, dtype=torch.bool)
    assert not _blocks(mask).any()
    mask[1, 0, 3, 3] = True
    hidden = _blocks(mask)
    assert not hidden[0].any()
    assert hidden[1].any()


def test_blocks_at_the_border_are_cut_off():
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[0, 0, 0, 0] = mask[0, 0, 15, 15] = True
    for seed in range(20):
        hidden = _blocks(mask, seed)
        assert hidden[0, 0, 0, 0] or hidden[0, 0, 15, 15]
        assert not hidden[0, 0, 0, 15]
        assert not hidden[0, 0, 15, 0]


def test_the_area_is_bounded():
    everywhere = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    free = _blocks(everywhere, rho=0.95, max_area=1.0).float().mean().item()
    bounded = _blocks(everywhere, rho=0.95, max_area=0.3).float().mean().item()
    assert free > 0.8
    assert bounded == pytest.approx(0.3, abs=0.05)


def test_the_seed_decides():
    mask = _rings()
    assert torch.equal(_blocks(mask, 3), _blocks(mask, 3))
    assert not torch.equal(_blocks(mask, 3), _blocks(mask, 4))


def test_an_image_gets_the_same_number_whatever_it_is_batched_with():
    mask = _rings()
    together, _ = block_budget(mask.flatten(1), rho=0.3)
    alone = [block_budget(mask[i : i + 1].flatten(1), rho=0.3)[0].item() for i in range(4)]
    assert together.tolist() == alone


@pytest.mark.parametrize("budget", ["image", "batch"])
def test_no_value_is_read_back_to_the_host(budget):
    """Fake tensors hold no values: reading one, which on a GPU would wait for the device, raises."""
    with FakeTensorMode():
        mask = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
        hidden = random_blocks(mask, rho=0.3, generator=_generator(), budget=budget)
    assert hidden.shape == mask.shape
