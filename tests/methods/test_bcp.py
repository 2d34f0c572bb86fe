"""BCP: labels follow pixels in both directions, each region over its own area, the teacher as published."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from gazeseg.methods.bcp import Pairs, boxes_to_masks, most_probable
from gazeseg.types import IGNORE

from .test_mean_teacher import batch_of, make


def test_the_foreground_is_pasted_and_labels_follow_pixels():
    pasted = boxes_to_masks([(1, 2, 5, 7)] * 2, (8, 8), torch.device("cpu"))
    assert pasted.sum() == 2 * 4 * 5
    pairs = Pairs(torch.tensor([0, 1]), torch.tensor([2, 3]), pasted)
    images, labels = torch.arange(4.0)[:, None, None, None].expand(4, 1, 8, 8), torch.arange(4)[:, None, None]
    labels = labels.expand(4, 8, 8)
    mixed = pairs.mix(images)[:, 0]
    assert torch.equal(mixed.long(), pairs.mix(labels))
    assert (mixed[0][pasted[0]] == 0).all() and (mixed[0][~pasted[0]] == 2).all()  # noqa: PT018 -- one statement
    everywhere = dataclasses.replace(pairs, pasted=torch.ones_like(pasted))
    assert torch.equal(everywhere.mix(images), images[:2])


def test_the_terms_are_those_of_the_mixed_images():
    method = make("bcp", largest_component=False)
    method.teach = lambda images, mode: torch.eye(3)[1].view(1, 3, 1, 1).expand(len(images), 3, *images.shape[-2:])
    batch = batch_of(method, size=8)
    losses = method.training_step(batch, 0).losses
    assert set(losses) == {"seg_in", "seg_out"}
    changed = batch.mask.clone()
    changed[4:] = IGNORE  # what is not labelled is the teacher's to label
    again = method.training_step(dataclasses.replace(batch, mask=changed), 0).losses
    assert all(torch.equal(losses[key], again[key]) for key in losses)
    changed[:4] = (changed[:4] + 1) % 3
    other = method.training_step(dataclasses.replace(batch, mask=changed), 0).losses
    assert all(losses[key] != other[key] for key in losses)


def test_the_first_iterations_mix_labelled_cases_alone_and_end_in_an_equal_teacher():
    method = make("bcp", pretrain_iterations=3)
    batch = batch_of(method)
    image = batch.image.clone()
    image[2:] = torch.nan
    out = method.training_step(dataclasses.replace(batch, image=image), 2)
    assert set(out.losses) == {"seg"}
    assert torch.isfinite(out.losses["seg"])
    with torch.no_grad():
        for p in method.network.parameters():
            p.mul_(1.5)
    method.after_step(1)
    assert not _equal(method.teacher, method.network)
    method.after_step(2)
    assert _equal(method.teacher, method.network)
    assert set(method.training_step(batch, 3).losses) == {"seg_in", "seg_out"}


def test_the_teacher_follows_with_its_running_statistics():
    method = make("bcp")
    for net in (method.network, method.teacher):
        net.extra = nn.BatchNorm2d(2)
    method.network.extra.running_mean.fill_(5.0)
    method.network.extra.num_batches_tracked.fill_(7)
    weight = method.teacher.head.weight.clone()
    with torch.no_grad():
        method.network.head.weight.add_(1)
    method.after_step(0)
    torch.testing.assert_close(method.teacher.head.weight, 0.99 * weight + 0.01 * method.network.head.weight)
    torch.testing.assert_close(method.teacher.extra.running_mean, torch.full((2,), 0.05))
    assert method.teacher.extra.num_batches_tracked == 7  # integers are copied


def test_a_run_that_starts_from_another_has_its_student_twice():
    first, second = make("bcp"), make("bcp")
    with torch.no_grad():
        first.network.head.weight.add_(3)
    second.start_from(copy.deepcopy(first.state_dict()))
    assert _equal(second.network, first.network)
    assert _equal(second.teacher, first.network)


@pytest.mark.parametrize("classes", [2, 3])
def test_pseudo_labels_are_largest_components(classes):
    method = make("bcp", classes=classes)
    spots = torch.zeros(2, 16, 16, dtype=torch.long)
    spots[:, 2:9, 2:9], spots[:, 12:14, 12:14] = 1, 1
    method.teach = lambda images, mode: nn.functional.one_hot(spots, classes).permute(0, 3, 1, 2).float()
    batch = batch_of(method, mask=torch.zeros(4, 16, 16, dtype=torch.long))
    believed = method._believed(dataclasses.replace(batch, image=batch.image[..., :16, :16]), torch.tensor([2, 3]))
    assert believed[2:].sum() == 2 * 49
    assert (believed[:2] == 0).all()


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_the_most_probable_class_is_the_first_of_the_largest(classes):
    values = torch.randint(0, 4, (3, classes, 8, 9), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(most_probable(values).long(), values.argmax(dim=1))


def _equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a)
