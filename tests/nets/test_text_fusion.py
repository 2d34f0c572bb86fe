import pytest
import torch

from gazeseg.config import NetworkConfig
from gazeseg.errors import ConfigError, DataError
from gazeseg.nets import build_network
from gazeseg.nets.text_fusion import MultiScaleFusion, TextFusion, valid_tokens

WIDTHS = (8, 16, 24)
DIM = 10


def _scale(form="gated", lambda_init=0.1, grid=6):
    torch.manual_seed(0)
    return TextFusion(16, text_dim=DIM, heads=8, grid=grid, form=form, lambda_init=lambda_init)


def _fusion(form="gated", lambda_init=0.1, grid=24):
    torch.manual_seed(0)
    return MultiScaleFusion(WIDTHS, text_dim=DIM, heads=8, position_grid=grid, form=form, lambda_init=lambda_init)


def _maps(batch=2, size=(24, 24)):
    random = torch.Generator().manual_seed(1)
    height, width = size
    shapes = [(batch, channels, height >> stage, width >> stage) for stage, channels in enumerate(WIDTHS)]
    return [torch.randn(shape, generator=random) for shape in shapes]


def _text(batch=2, tokens=4):
    return torch.randn(batch, tokens, DIM, generator=torch.Generator().manual_seed(2))


def test_tokens_are_rows_that_are_not_zero_and_within_the_length():
    text = _text(3, 4)
    text[0, 2:] = 0
    assert valid_tokens(text).sum(dim=1).tolist() == [2, 4, 4]
    assert valid_tokens(text, torch.tensor([4, 3, 0])).sum(dim=1).tolist() == [2, 3, 0]


def test_a_pixel_gets_what_a_plain_attention_gives_it():
    """One pixel of one image by hand: softmax over the tokens in each head, then the output layer, norm and lambda."""
    scale, x, text = _scale(lambda_init=0.7), _maps()[1], _text()
    fused, compared = scale(x, text, valid_tokens(text))
    weight, bias = scale.query.weight[:, :, 0, 0], scale.query.bias
    position = torch.nn.functional.interpolate(scale.position, (12, 12), mode="bicubic")[0, :, 5, 7]
    query = weight @ x[1, :, 5, 7] + bias + position
    keys, values = scale.key(text[1]), scale.value(text[1])
    heads = []
    for start in range(0, 16, 2):
        part = slice(start, start + 2)
        share = torch.softmax(keys[:, part] @ query[part] / 2**0.5, dim=0)
        heads.append(share @ values[:, part])
    expected = x[1, :, 5, 7] + 0.7 * scale.norm(scale.out(torch.cat(heads)))
    torch.testing.assert_close(fused[1, :, 5, 7], expected)
    assert compared is fused


def test_the_released_form_projects_the_normed_sum():
    scale, x, text = _scale("projected").eval(), _maps()[1], _text()
    fused, compared = scale(x, text, valid_tokens(text))
    torch.testing.assert_close(fused - x, compared)
    assert scale.gate is None
    assert not [name for name, _ in _scale().named_parameters() if name.startswith("project")]


def test_padding_does_not_change_the_output():
    fusion, maps, text = _fusion(), _maps(), _text()
    plain, _ = fusion(maps, text)
    longer = torch.cat([text, torch.zeros(2, 3, DIM)], dim=1)
    garbage = torch.cat([text, torch.ones(2, 3, DIM)], dim=1)
    for padded, length in ((longer, None), (longer, torch.tensor([4, 4])), (garbage, torch.tensor([4, 4]))):
        for own, other in zip(plain, fusion(maps, padded, length)[0], strict=True):
            torch.testing.assert_close(own, other)


@pytest.mark.parametrize("form", ["gated", "projected"])
def test_an_image_without_text_keeps_its_maps_bit_for_bit(form):
    fusion, text = _fusion(form), _text()
    maps = [x.requires_grad_() for x in _maps()]
    fused, _ = fusion(maps, text, torch.tensor([0, 4]))
    assert all(torch.equal(own[0], other[0]) for own, other in zip(maps, fused, strict=True))
    assert not any(torch.equal(own[1], other[1]) for own, other in zip(maps[1:], fused[1:], strict=True))
    gradients = torch.autograd.grad(sum(x.square().sum() for x in fused), [*maps, *fusion.parameters()])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_batch_without_any_text_gives_no_gradient_to_the_text_path():
    fusion, maps = _fusion(), _maps()
    fused, _ = fusion(maps, torch.zeros(2, 4, DIM))
    gradients = torch.autograd.grad(sum(x.sum() for x in fused), list(fusion.parameters()))
    assert all((gradient == 0).all() for gradient in gradients)


def test_lambda_zero_is_the_image_only_network():
    net = build_network(NetworkConfig(name="small_unet", features=WIDTHS), in_channels=1, num_classes=2, seed=0)
    images = torch.randn(2, 1, 24, 24)
    fused, _ = _fusion(lambda_init=0.0)(net.encode(images), _text())
    assert torch.equal(net.head(net.decode(fused, (24, 24))), net(images))


def test_one_token_gets_all_attention_at_every_pixel():
    fusion, maps, text = _fusion(), _maps(), _text(tokens=1)
    for weights in fusion.attention(maps, text):
        assert torch.equal(weights, torch.ones_like(weights))
    added = fusion(maps, text)[0][1] - maps[1]
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added), atol=1e-5, rtol=0)


def test_attention_is_a_share_and_zero_on_padding_and_without_text():
    fusion, maps, text = _fusion(), _maps(3), _text(3)
    first, second = fusion.attention(maps, text, torch.tensor([4, 2, 0]))
    assert first.shape == (3, 4, 12, 12)
    assert second.shape == (3, 4, 6, 6)
    for weights in (first, second):
        torch.testing.assert_close(weights[:2].sum(dim=1), torch.ones_like(weights[:2, 0]))
        assert (weights[1, 2:] == 0).all()
        assert (weights[2] == 0).all()


def test_attention_is_what_the_fusion_mixes_values_with():
    """With one head, identity output and no norm, the fused map is the attention times the values."""
    torch.manual_seed(0)
    scale = TextFusion(16, text_dim=DIM, heads=1, grid=12, form="gated", lambda_init=1.0)
    scale.out, scale.norm = torch.nn.Identity(), torch.nn.Identity()
    x, text = _maps()[1], _text()
    valid = valid_tokens(text)
    mixed = torch.einsum("bthw,btc->bchw", scale.attention(x, text, valid), scale.value(text))
    torch.testing.assert_close(scale(x, text, valid)[0] - x, mixed)


@pytest.mark.parametrize("size", [(24, 24), (32, 16), (40, 56)])
def test_positions_fit_any_size(size):
    maps = _maps(size=size)
    fused, _ = _fusion()(maps, _text())
    assert [x.shape for x in fused] == [x.shape for x in maps]
    assert [tuple(scale.position.shape[-2:]) for scale in _fusion(grid=224).scales] == [(112, 112), (56, 56)]


def test_positions_of_the_stored_size_are_used_as_they_are():
    scale, x = _scale(grid=12), _maps()[1]
    assert scale._position(x) is scale.position


def test_tokens_of_another_dimension_are_named():
    with pytest.raises(DataError, match=r"\(2, 4, 11\).*set --method\.text\.dim 11"):
        _fusion()(_maps(), torch.randn(2, 4, 11))


def test_heads_must_divide_the_channels():
    with pytest.raises(ConfigError, match="heads 8 does not divide the 12 channels"):
        MultiScaleFusion((8, 12), text_dim=DIM, heads=8, position_grid=24, form="gated", lambda_init=0.1)
