import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from gazeseg.nets import pixel_attention
from gazeseg.nets.pixel_attention import attend

HEADS = 4


def _inputs(dtype=torch.float64, channels=12, tokens=5, pixels=30):
    random = torch.Generator().manual_seed(0)
    shapes = ((3, channels, pixels), (3, tokens, channels), (3, tokens, channels))
    values = [torch.randn(shape, generator=random, dtype=dtype, requires_grad=True) for shape in shapes]
    valid = torch.ones(3, tokens, dtype=torch.bool)
    valid[1, 3:] = False
    return values, valid


def _fused(query, key, value, valid):
    """PyTorch's attention, on the layout that it wants."""
    count, tokens, channels = key.shape
    q = query.view(count, HEADS, channels // HEADS, -1).transpose(-1, -2)
    k, v = (x.view(count, tokens, HEADS, -1).transpose(1, 2) for x in (key, value))
    return scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None]).transpose(-1, -2).flatten(1, 2)


@pytest.mark.parametrize("cache_bytes", [1, 5000, 10**9])
def test_equals_the_fused_attention_with_its_gradients(cache_bytes, monkeypatch):
    monkeypatch.setattr(pixel_attention, "CACHE_BYTES", cache_bytes)
    inputs, valid = _inputs()
    ours, theirs = attend(*inputs, valid, HEADS), _fused(*inputs, valid)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((out * weight).sum(), inputs) for out in (ours, theirs)]
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other)


def test_gradients_agree_with_finite_differences():
    inputs, valid = _inputs(channels=4, tokens=3, pixels=4)
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, valid, 2), inputs)


def test_channels_last_and_bfloat16_give_the_same():
    inputs, valid = _inputs(torch.float32)
    expected = attend(*inputs, valid, HEADS)
    strided = inputs[0].detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    out = attend(strided, *inputs[1:], valid, HEADS)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(
        torch.autograd.grad(out.sum(), strided)[0], torch.autograd.grad(expected.sum(), inputs[0])[0]
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = attend(*(x.bfloat16() for x in inputs), valid, HEADS)
    torch.testing.assert_close(half, expected, atol=0.05, rtol=0.05)


def test_an_image_without_a_token_stays_finite():
    inputs, valid = _inputs(torch.float32)
    valid[0] = False
    out = attend(*inputs, valid, HEADS)
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(out.sum(), inputs))
