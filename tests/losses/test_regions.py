"""Losses over regions of mixed images: against the plain ones, and by hand."""

import pytest
import torch
import torch.nn.functional as F

from gazeseg.losses.regions import mixed_loss, region_cross_entropy, region_dice
from gazeseg.types import IGNORE

G = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 4, 9, 11, generator=G, dtype=torch.float64)
TARGET = torch.randint(0, 4, (2, 9, 11), generator=G)
REGION = torch.rand(2, 9, 11, generator=G) < 0.4


def test_everywhere_they_are_plain_dice_and_cross_entropy():
    p, y = LOGITS.softmax(1), F.one_hot(TARGET, 4).permute(0, 3, 1, 2)
    dice = torch.stack([1 - 2 * (p[:, c] * y[:, c]).sum() / (p[:, c] ** 2 + y[:, c]).sum() for c in range(4)]).mean()
    torch.testing.assert_close(region_dice(p, TARGET), dice)
    torch.testing.assert_close(region_cross_entropy(LOGITS, TARGET), F.cross_entropy(LOGITS, TARGET))
    whole = torch.ones_like(REGION)
    mixed = mixed_loss(
        LOGITS, foreground=TARGET, background=TARGET.roll(1), pasted=whole, foreground_weight=1.0,
        background_weight=0.0, num_classes=4,
    )  # fmt: skip
    torch.testing.assert_close(mixed, (dice + F.cross_entropy(LOGITS, TARGET)) / 2)


def test_each_region_is_averaged_over_its_own_area_with_its_own_labels():
    other = (TARGET + 1) % 4
    inner = F.cross_entropy(LOGITS.permute(0, 2, 3, 1)[REGION], TARGET[REGION])
    torch.testing.assert_close(region_cross_entropy(LOGITS, TARGET, REGION), inner)
    combined = torch.where(REGION, TARGET, other)
    kwargs = {"pasted": REGION, "foreground_weight": 1.0, "background_weight": 0.5, "num_classes": 4}
    one = mixed_loss(LOGITS, foreground=TARGET, background=other, **kwargs)
    two = mixed_loss(LOGITS, foreground=combined, background=combined, **kwargs)
    torch.testing.assert_close(one, two)


def test_the_old_background_dice_counts_the_whole_image():
    p = LOGITS.softmax(1)
    masked, old = (region_dice(p, TARGET, REGION, masked_background=flag) for flag in (True, False))
    assert masked != old
    background = (1 - 2 * (p[:, 0] * (TARGET == 0)).sum() / (p[:, 0] ** 2 + (TARGET == 0)).sum()) / 4
    ours = (1 - 2 * (p[:, 0] * (TARGET == 0) * REGION).sum() / ((p[:, 0] ** 2 + (TARGET == 0)) * REGION).sum()) / 4
    torch.testing.assert_close(old - background, masked - ours)


def test_two_classes_with_one_logit_are_those_with_two():
    z = LOGITS[:, :1]
    pair = torch.cat([torch.zeros_like(z), z], dim=1)
    target = TARGET % 2
    torch.testing.assert_close(region_cross_entropy(z, target, REGION), region_cross_entropy(pair, target, REGION))


def test_ignored_pixels_belong_to_no_region_and_an_empty_region_costs_nothing():
    target = torch.where(REGION, TARGET, IGNORE)
    torch.testing.assert_close(region_cross_entropy(LOGITS, target), region_cross_entropy(LOGITS, TARGET, REGION))
    torch.testing.assert_close(region_dice(LOGITS.softmax(1), target), region_dice(LOGITS.softmax(1), TARGET, REGION))
    nothing = torch.zeros_like(REGION)
    assert region_cross_entropy(LOGITS, TARGET, nothing) == 0
    assert region_dice(LOGITS.softmax(1), TARGET, nothing).item() == pytest.approx(0)
