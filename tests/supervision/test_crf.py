"""The dense CRF against pydensecrf, published values, its own symmetries and the real data."""

import csv
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from gazeseg.config import CrfConfig, MapsConfig
from gazeseg.errors import ConfigError, DataError
from gazeseg.supervision.crf import crf_probability
from gazeseg.supervision.heatmap import heatmap
from gazeseg.types import Fixations

COMPATIBLE = CrfConfig()
FAST = CrfConfig(mode="fast")


def oracle(image, heat, config):
    densecrf = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed")
    height, width = heat.shape
    crf = densecrf.DenseCRF2D(width, height, 2)
    crf.setUnaryEnergy(-np.log(np.clip(np.stack([1 - heat, heat]), 1e-5, None)).reshape(2, -1))
    crf.addPairwiseBilateral(
        sxy=config.sxy,
        srgb=config.srgb,
        rgbim=image.copy(order="C"),
        compat=config.compat,
        kernel=densecrf.DIAG_KERNEL,
        normalization=densecrf.NORMALIZE_SYMMETRIC,
    )
    return np.array(crf.inference(config.iterations))[1].reshape(heat.shape)


def smooth(size, sigma_px, seed):
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(size), sigma_px)
    return (field - field.min()) / np.ptp(field)


def scene(size=(90, 120), seed=0, noise=3.0):
    """A bright ellipse on a shaded ground (H, W, 3) and a heatmap that roughly covers it."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    inside = np.hypot((x / width - 0.55) / 0.22, (y / height - 0.45) / 0.25) < 1
    rng = np.random.default_rng(seed)
    shade = 0.7 + 0.6 * smooth(size, max(size) / 12, seed)
    image = np.array([150, 80, 60]) * shade[..., None] + inside[..., None] * np.array([50, 40, 30])
    image += noise * rng.standard_normal(image.shape)
    heat = np.exp(-(((x / width - 0.5) / 0.18) ** 2 + ((y / height - 0.47) / 0.2) ** 2) / 2)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), heat.astype(np.float32)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "heat"),
    [
        pytest.param(*scene(), id="scene"),
        pytest.param(*scene((300, 260), seed=1), id="larger scene"),
        pytest.param(noise((60, 48)), smooth((60, 48), 5, 1).astype(np.float32), id="noise"),
        pytest.param(noise((61, 47)), smooth((61, 47), 5, 1).astype(np.float32), id="noise, filled up by one pixel"),
        pytest.param(noise((63, 47)), smooth((63, 47), 5, 1).astype(np.float32), id="noise, filled up by three"),
        pytest.param(np.full((40, 50, 3), 99, np.uint8), smooth((40, 50), 4, 2).astype(np.float32), id="one colour"),
        pytest.param(noise((1, 80)), np.linspace(0, 1, 80, dtype=np.float32)[None], id="one row"),
        pytest.param(noise((70, 1)), np.linspace(0, 1, 70, dtype=np.float32)[:, None], id="one column"),
        pytest.param(noise((30, 30)), np.zeros((30, 30), np.float32), id="no gaze"),
        pytest.param(noise((30, 30)), np.ones((30, 30), np.float32), id="all foreground"),
        pytest.param(noise((1, 1)), np.full((1, 1), 0.7, np.float32), id="one pixel"),
    ],
)
def test_compatible_equals_pydensecrf(image, heat):
    ours = crf_probability(image, heat, COMPATIBLE)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, oracle(image, heat, COMPATIBLE), atol=5e-6)


@pytest.mark.parametrize(
    "change",
    [{"iterations": 1}, {"sxy": 9.0}, {"srgb": 3.0}, {"srgb": 60.0}, {"compat": 4.0}, {"sxy": 3.5, "srgb": 5.0}],
)
def test_compatible_equals_pydensecrf_with_other_kernels(change):
    config = CrfConfig(**change)
    image, heat = scene(seed=3)
    np.testing.assert_allclose(crf_probability(image, heat, config), oracle(image, heat, config), atol=2e-5)


@pytest.mark.real
def test_compatible_equals_the_published_values(golden):
    values = np.load(golden / "maps_released.npz")
    for i in range(2):
        heat = np.clip(values[f"heatmap_{i}"].astype(np.float32), 0, 1)
        ours = crf_probability(values[f"crf_image_{i}"], heat, COMPATIBLE)
        np.testing.assert_allclose(ours, values[f"crf_probability_{i}"], atol=1e-4)


def test_refinement_moves_the_map_to_the_edge():
    image, heat = scene(seed=4)
    y, x = np.mgrid[: heat.shape[0], : heat.shape[1]]
    truth = np.hypot((x / heat.shape[1] - 0.55) / 0.22, (y / heat.shape[0] - 0.45) / 0.25) < 1
    assert dice(crf_probability(image, heat, COMPATIBLE) >= 0.5, truth) > dice(heat >= 0.5, truth)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_flips_commute_up_to_the_position_of_the_lattice(axes):
    image, heat = scene(seed=5)
    straight = crf_probability(image, heat, COMPATIBLE)
    flipped = np.flip(crf_probability(np.flip(image, axes), np.flip(heat, axes), COMPATIBLE), axes)
    assert np.abs(straight - flipped).mean() < 0.01
    assert dice(straight >= 0.5, flipped >= 0.5) > 0.98


def test_colour_channels_may_be_permuted():
    image, heat = scene(seed=6)
    straight, permuted = (crf_probability(i, heat, COMPATIBLE) for i in (image, image[..., ::-1]))
    assert np.abs(straight - permuted).mean() < 0.01


@pytest.mark.parametrize("config", [COMPATIBLE, FAST])
def test_swapping_the_labels_swaps_the_probabilities(config):
    image, heat = scene(seed=7)
    # 1 - (1 - h) is h only up to rounding
    one, other = crf_probability(image, heat, config), crf_probability(image, 1 - heat, config)
    np.testing.assert_allclose(one + other, 1, atol=1e-4)


def test_fast_keeps_the_masks_of_compatible():
    image, heat = scene((420, 480), seed=8)
    compatible, fast = (crf_probability(image, heat, config) for config in (COMPATIBLE, FAST))
    assert fast.shape == heat.shape
    for threshold in (0.3, 0.5):
        assert dice(compatible >= threshold, fast >= threshold) >= 0.997


def test_fast_at_a_smaller_size():
    image, heat = scene((420, 480), seed=9)
    small = crf_probability(image, heat, FAST, size=(105, 96))
    assert small.shape == (105, 96)
    # each pixel of the small map is the mean of the four around its centre, as in a bilinear resize
    full = crf_probability(image, heat, COMPATIBLE).reshape(105, 4, 96, 5)[:, 1:3, :, 2].mean(1)
    for threshold in (0.3, 0.5):
        assert dice(full >= threshold, small >= threshold) > 0.97


@pytest.mark.parametrize("size", [(1, 1), (90, 120), (130, 200)])
def test_fast_at_any_size(size):
    small = crf_probability(*scene(), FAST, size=size)
    assert small.shape == size
    assert np.isfinite(small).all()
    if size == (90, 120):
        np.testing.assert_array_equal(small, crf_probability(*scene(), FAST))


def test_fast_with_a_kernel_narrower_than_the_stride():
    image, heat = scene((300, 300), seed=10)
    narrow = {"sxy": 2.0, "iterations": 5}
    ours = crf_probability(image, heat, CrfConfig(mode="fast", **narrow))
    np.testing.assert_array_equal(ours, crf_probability(image, heat, CrfConfig(**narrow)))


def test_off_returns_the_clipped_heatmap():
    heat = np.array([[-0.1, 0.4, 1.2]], np.float32)
    out = crf_probability(noise((1, 3)), heat, CrfConfig(mode="off"))
    np.testing.assert_array_equal(out, np.float32([[0, 0.4, 1]]))


@pytest.mark.parametrize("config", [COMPATIBLE, FAST])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (300, 300)])
def test_empty_heatmap_finds_nothing(config, size):
    out = crf_probability(noise(size), np.zeros(size, np.float32), config)
    assert out.max() < 1e-4


def test_grey_is_stretched_and_copied():
    image, heat = scene(seed=11)
    grey = image[..., :1]
    low, high = int(grey.min()), int(grey.max())
    stretched = np.rint((grey.astype(np.float64) - low) * 255 / (high - low)).astype(np.uint8)
    expected = crf_probability(np.repeat(stretched, 3, axis=2), heat, COMPATIBLE)
    np.testing.assert_array_equal(crf_probability(grey, heat, COMPATIBLE), expected)
    sixteen_bit = grey.astype(np.uint16) * 100 + 7  # the stretch takes away factor and offset
    np.testing.assert_array_equal(crf_probability(sixteen_bit, heat, COMPATIBLE), expected)


def test_constant_grey_image():
    heat = scene()[1]
    ours = crf_probability(np.full((*heat.shape, 1), 80, np.uint8), heat, COMPATIBLE)
    np.testing.assert_array_equal(ours, crf_probability(np.zeros((*heat.shape, 3), np.uint8), heat, COMPATIBLE))


def test_read_only_and_strided_input():
    image, heat = scene(seed=12)
    expected = crf_probability(image, heat, COMPATIBLE)
    transposed = np.asfortranarray(image), np.asfortranarray(heat)
    for array in transposed:
        array.setflags(write=False)
    np.testing.assert_array_equal(crf_probability(*transposed, COMPATIBLE), expected)
    np.testing.assert_array_equal(crf_probability(image, heat.astype(np.float64), COMPATIBLE), expected)


def test_threads_agree():
    scenes = [scene(seed=seed) for seed in range(6)]
    alone = [crf_probability(*s, COMPATIBLE) for s in scenes]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda s: crf_probability(*s, COMPATIBLE), scenes))
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize(
    ("image", "heat", "message"),
    [
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5)), r"got shape \(4, 5\)"),
        (np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5)), r"got shape \(4, 5, 4\)"),
        (np.zeros((4, 5, 3)), np.zeros((4, 5)), "uint8, got float64"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4)), r"\(5, 4\) does not fit the image's \(4, 5\)"),
        (np.zeros((0, 5, 3), np.uint8), np.zeros((0, 5)), "does not fit"),
        (np.zeros((1, 2, 3), np.uint8), np.array([[0, np.nan]]), "NaN"),
        (np.array([[[0.0], [np.inf]]]), np.zeros((1, 2)), "NaN or infinity"),
    ],
)
def test_bad_arrays(image, heat, message):
    with pytest.raises(DataError, match=message):
        crf_probability(image, heat.astype(np.float32), COMPATIBLE)


def test_a_working_size_needs_fast_mode():
    with pytest.raises(ConfigError, match=r"set crf\.mode to fast"):
        crf_probability(*scene(), COMPATIBLE, size=(10, 10))
    with pytest.raises(ConfigError, match=r"at least 1, got \(0, 4\)"):
        crf_probability(*scene(), FAST, size=(0, 4))


def test_the_module_is_light_to_import():
    code = "import sys, gazeseg.supervision.crf; sys.exit('numba' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def kvasir_maps(data, step):
    """Image, heatmap and truth of every ``step``-th training image."""
    rows = defaultdict(list)
    with (data / "gazemedseg" / "kvasir_fixation.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows[row["IMAGE"].rsplit(".", 1)[0]].append(
                [float(row[f"CURRENT_FIX_{key}"]) for key in ("X", "Y", "DURATION", "START")]
            )
    folder = data / "kvasir-seg"
    for name in (folder / "train.txt").read_text().split()[::step]:
        image = np.asarray(Image.open(folder / "images" / f"{name}.jpg").convert("RGB"))
        truth = np.asarray(Image.open(folder / "masks" / f"{name}.jpg").convert("L")) > 127
        x, y, duration, start = np.array(sorted(rows[name], key=lambda row: row[3])).T
        fix = Fixations(x * truth.shape[1] - 0.5, y * truth.shape[0] - 0.5, start, duration, truth.shape, name)
        yield image, heatmap(fix, MapsConfig()).values, truth


@pytest.mark.real
def test_kvasir_pseudo_masks_are_as_good_as_published(real_data):
    """Published on all 900 training images: Dice .753 +- .141 at .5 and .784 +- .128 at .3; here on 40 of them."""
    scores = {0.3: [], 0.5: []}
    fast_scores = {0.3: [], 0.5: []}
    for index, (image, heat, truth) in enumerate(kvasir_maps(real_data, 23)):
        probability = crf_probability(image, heat, COMPATIBLE)
        for threshold in scores:
            scores[threshold].append(dice(probability >= threshold, truth))
        if index % 4 == 0:
            fast = crf_probability(image, heat, FAST)
            for threshold in scores:
                fast_scores[threshold].append(dice(probability >= threshold, fast >= threshold))
        if index % 20 == 0:
            np.testing.assert_allclose(probability, oracle(image, heat, COMPATIBLE), atol=1e-4)
    # three standard errors of a mean over 40 images
    assert np.mean(scores[0.5]) == pytest.approx(0.753, abs=3 * 0.141 / np.sqrt(40))
    assert np.mean(scores[0.3]) == pytest.approx(0.784, abs=3 * 0.128 / np.sqrt(40))
    assert min(np.mean(fast_scores[0.3]), np.mean(fast_scores[0.5])) >= 0.997
