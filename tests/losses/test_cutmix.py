import numpy as np
import pytest
import torch

from gazeseg.losses import Mix, draw_mix


def _draw(seed=0, count=4, size=(32, 48), alpha=4.0):
    rng = np.random.default_rng(seed)
    return draw_mix(count, size, alpha=alpha, rng=rng, generator=torch.Generator().manual_seed(seed))


def test_a_paste_by_hand():
    mix = Mix(top=1, bottom=3, left=0, right=2, partner=torch.tensor([1, 0]))
    maps = torch.stack([torch.zeros(1, 3, 3), torch.ones(1, 3, 3)])
    first, second = mix.paste(maps)[:, 0]
    assert first.tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0]]
    torch.testing.assert_close(second, 1 - first)
    assert (maps[0] == 0).all(), "the original stays"


def test_images_and_targets_are_mixed_alike():
    mix, maps = _draw(), torch.randn(4, 3, 32, 48)
    assert torch.equal(mix.paste(maps)[:, 1:2], mix.paste(maps[:, 1:2]))


def test_boxes_lie_in_the_image_and_partners_are_a_permutation():
    for seed in range(200):
        mix = _draw(seed)
        assert 0 <= mix.top < mix.bottom <= 32
        assert 0 <= mix.left < mix.right <= 48
        assert sorted(mix.partner.tolist()) == [0, 1, 2, 3]


def test_the_box_has_the_published_size():
    """Sides are sqrt(1 - lambda) of the image, unless its border cuts them."""
    uncut = 0
    for seed in range(60):
        side = 1000 * np.sqrt(1 - np.random.default_rng(seed).beta(4, 4))
        mix = _draw(seed, size=(1000, 1000))
        for first, last in ((mix.top, mix.bottom), (mix.left, mix.right)):
            if first > 0 and last < 1000:
                assert last - first == pytest.approx(side, abs=1)
                uncut += 1
            assert last - first <= side + 1
    assert uncut > 20


def test_the_same_seed_gives_the_same_mix():
    first, second, other = _draw(1), _draw(1), _draw(2)
    assert (first.top, first.left, first.partner.tolist()) == (second.top, second.left, second.partner.tolist())
    assert (first.top, first.left) != (other.top, other.left)
