"""The scanpath figure: where a reader looked, in which order, how long, and what had come together by then.

Circle areas are proportional to duration, colour is the course of the reading, and the same colours stand on the time
axis below, so that no further legend is needed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from gazeseg.data.images import write_bytes
from gazeseg.data.schema import SIMULATED
from gazeseg.gaze.scanpath import end_ms, start_ms, until
from gazeseg.report.figures import ticks
from gazeseg.report.overlays import COLOURS, HALO, fixation_radii, rgb
from gazeseg.report.reading import TIME_COLOURS, Reading, describe, dwell_density
from gazeseg.types import Float32Array, FloatArray, UInt8Array

INK, SOFT, FAINT, WARN = "#1b2128", "#59636e", "#dfe3e7", "#9a5b00"
TIME_MAP: Final = LinearSegmentedColormap.from_list("reading", TIME_COLOURS)
MOMENTS: Final = (0.25, 0.5, 0.75, 1.0)  # shares of the reading at which the heatmap is shown
DPI: Final = 110
MAIN_IN: Final = 6.4  # longer side of the large picture, inch
_GRID: Final = 240  # cells of a density along the longer side: it is smooth


def scanpath_figure(reading: Reading, path: Path) -> Path:
    """Write the figure of one reading as PNG; it appears whole or not at all.

    Args:
        reading: With at least one fixation.
        path: The file.
    """
    height, width = reading.size
    scale = MAIN_IN / max(height, width)
    main_w, main_h = width * scale, height * scale
    small_h = max((main_h - 0.34) / 2, 0.9)
    small_w = small_h * width / height
    margin, head, gap, foot, time_h = 0.22, 1.02, 0.3, 0.28, 1.05 if reading.truth is not None else 0.72
    total_w = max(2 * margin + main_w + gap + 2 * small_w + 0.12, 9.0)
    body = max(main_h, 2 * small_h + 0.34)
    total_h = head + body + foot + time_h + 0.5
    figure = Figure(figsize=(total_w, total_h), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def place(left: float, top: float, w: float, h: float) -> Axes:
        return figure.add_axes((left / total_w, 1 - (top + h) / total_h, w / total_w, h / total_h))

    figure.text(margin / total_w, 1 - 0.2 / total_h, reading.case_id, parse_math=False, fontsize=14, fontweight="bold",
                va="top", color=INK)  # fmt: skip
    about_colour = WARN if SIMULATED in reading.about else SOFT
    figure.text(1 - margin / total_w, 1 - 0.24 / total_h, reading.about, parse_math=False, fontsize=9.5, va="top",
                ha="right", color=about_colour)  # fmt: skip
    figure.text(margin / total_w, 1 - 0.52 / total_h, describe(reading.figures), parse_math=False, fontsize=10.5,
                va="top", color=SOFT)  # fmt: skip
    axes = place(margin, head, main_w, main_h)
    show_image(axes, reading.image)
    draw_truth(axes, reading)
    draw_scanpath(axes, reading, points_per_px=72 * scale)
    left = margin + main_w + gap
    _moments([place(left + (k % 2) * (small_w + 0.12), head + (k // 2) * (small_h + 0.34), small_w, small_h)
              for k in range(4)], reading)  # fmt: skip
    top = head + body + foot
    _time_axis(place(margin + 0.78, top, total_w - 2 * margin - 0.78, time_h), reading)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
    return path


def show_image(axes: Axes, image: UInt8Array, *, grey: bool = False) -> None:
    """Show an image (H, W, C) on axes in image px; ``grey`` and darkened where a coloured map will lie on it."""
    height, width = image.shape[:2]
    step = max(1, max(height, width) // 900)
    pixels = rgb(image[::step, ::step])
    if grey:  # tissue is red as the maps are: without its colour they can be told apart
        pixels = np.repeat((0.7 * pixels.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
    axes.imshow(pixels, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="antialiased")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_truth(axes: Axes, reading: Reading, linewidth: float = 1.6) -> None:
    """Draw the true contour, if there is one."""
    for line in reading.outline:
        axes.plot(line[:, 0], line[:, 1], color=COLOURS["truth"], linewidth=linewidth,
                  path_effects=[withStroke(linewidth=linewidth + 1.4, foreground=HALO, alpha=0.6)])  # fmt: skip


def draw_scanpath(axes: Axes, reading: Reading, *, points_per_px: float, number_pt: float = 6.5) -> int:
    """Draw saccades, fixations and their numbers; axes are in image px.

    Args:
        axes: Where the image is shown.
        reading: What is drawn.
        points_per_px: Size of an image pixel on paper, in points.
        number_pt: Size of the numbers, in points.

    Returns:
        How many numbers found room; where circles crowd, a number that would cover another is left out.
    """
    fix, course = reading.fixations, reading.course
    side = max(reading.size)
    radii = fixation_radii(fix, side)
    points = np.stack([fix.x_px, fix.y_px], axis=1)
    segments = np.stack([points[:-1], points[1:]], axis=1)
    thin = 0.23 * number_pt
    axes.add_collection(LineCollection(list(segments), colors=HALO, linewidths=thin + 1.5, alpha=0.45, zorder=3))
    axes.add_collection(LineCollection(list(segments), colors=TIME_MAP(course[1:]), linewidths=thin, zorder=4))
    face = TIME_MAP(course)
    face[:, 3] = 0.62
    first = np.arange(len(fix)) == 0
    axes.add_collection(
        EllipseCollection(2 * radii, 2 * radii, np.zeros(len(fix)), units="xy", offsets=points,
                          offset_transform=axes.transData, facecolors=face,
                          edgecolors=np.where(first, "white", HALO),
                          linewidths=np.where(first, 1.8, 0.8), zorder=5)
    )  # fmt: skip
    em = number_pt / points_per_px  # one em in image px
    widths = np.array([0.62 * em * len(str(k + 1)) for k in range(len(fix))])
    places = place_labels(points, radii, widths, 0.95 * em, bounds=(reading.size[1], reading.size[0]))
    for index, place in enumerate(places):
        if place is not None:
            halo = [withStroke(linewidth=1.7, foreground=HALO)]
            axes.text(*place, str(index + 1), fontsize=number_pt, ha="center", va="center_baseline", color="white",
                      fontweight="bold", zorder=6, path_effects=halo)  # fmt: skip
    return sum(place is not None for place in places)


def place_labels(
    points: FloatArray, radii: FloatArray, widths: FloatArray, height: float, *, bounds: tuple[float, float]
) -> list[tuple[float, float] | None]:
    """Find room for one label a circle: in its middle, else around it, else none; no two overlap.

    Long fixations choose first, but the first and the last fixation before all others.

    Args:
        points: (K, 2) centres x, y.
        radii: (K,) of the circles.
        widths: (K,) of the labels.
        height: Of every label.
        bounds: (width, height) of the picture that a label beside its circle must not leave.
    """
    rank = radii.copy()
    rank[[0, -1]] = np.inf
    angles = np.deg2rad([-45, 45, 135, -135, 0, 90, 180, -90])
    boxes: list[tuple[float, float, float, float]] = []
    places: list[tuple[float, float] | None] = [None] * len(points)
    for index in np.argsort(-rank, kind="stable"):
        (x, y), w = points[index], widths[index]
        reach = radii[index] + 0.5 * np.hypot(w, height)
        tries = [(x, y), *((x + reach * np.cos(a), y + reach * np.sin(a)) for a in angles)]
        for number, (a, b) in enumerate(tries):
            box = (a - w / 2, b - height / 2, a + w / 2, b + height / 2)
            out = box[0] < 0 or box[1] < 0 or box[2] > bounds[0] or box[3] > bounds[1]
            if (number == 0 or not out) and not any(_overlap(box, other) for other in boxes):
                boxes.append(box)
                places[index] = (float(a), float(b))
                break
    return places


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def growing(reading: Reading, moments: Sequence[float] = MOMENTS) -> list[tuple[float, int, Float32Array]]:
    """Return (seconds, fixations begun, density (h, w)) at shares of the reading; 1 is the maximum at its end."""
    fix = reading.fixations
    height, width = reading.size
    scale = min(1.0, _GRID / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    top = max(float(dwell_density(fix, reading.sigma_px, shape).max()), 1e-9)
    start, end = start_ms(fix), end_ms(fix)
    found = []
    for share in moments:
        seen = until(fix, start + share * (end - start))
        density = dwell_density(seen, reading.sigma_px, shape) / np.float32(top)
        found.append((share * (end - start) / 1000, len(seen), density))
    return found


def show_heat(axes: Axes, heat: Float32Array, size: tuple[int, int]) -> None:
    """Lay a map (h, w) in [0, 1] over an image of ``size`` (H, W); where it is 0 the image shows."""
    height, width = size
    axes.imshow(heat, cmap="inferno", alpha=0.8 * np.sqrt(np.clip(heat, 0, 1)), vmin=0, vmax=1,
                extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="bilinear")  # fmt: skip


def _moments(grid: Sequence[Axes], reading: Reading) -> None:
    for axes, share, (seconds, count, heat) in zip(grid, MOMENTS, growing(reading), strict=True):
        show_image(axes, reading.image, grey=True)
        show_heat(axes, heat, reading.size)
        draw_truth(axes, reading, linewidth=1.1)
        title = f"{share:.0%}: {seconds:.1f} s, {count} fixation{'s' * (count > 1)}"
        axes.set_title(title, fontsize=9, color=INK, loc="left", pad=4)


def _time_axis(axes: Axes, reading: Reading) -> None:
    """Draw a bar a fixation; with truth, those outside it stand on a line of their own."""
    fix, inside = reading.fixations, reading.inside
    start = start_ms(fix)
    onset, duration = (fix.onset_ms - start) / 1000, fix.duration_ms / 1000
    end = (end_ms(fix) - start) / 1000
    lanes = {True: 1.0, False: 0.0} if inside is not None else {True: 0.0}
    level = np.array([lanes[bool(flag)] for flag in (inside if inside is not None else np.ones(len(fix), bool))])
    for share in MOMENTS:
        axes.axvline(share * end, color=FAINT, linewidth=1, zorder=0)
    axes.barh(level, duration, left=onset, height=0.5, color=TIME_MAP(reading.course), edgecolor=HALO, linewidth=0.5)
    room = dict.fromkeys(lanes.values(), -np.inf)
    per_second = axes.get_window_extent().width / DPI * 72 / max(end, 1e-9)  # points
    for index, (begin, length, lane) in enumerate(zip(onset, duration, level, strict=True)):
        wide = 4.2 * len(str(index + 1)) / per_second
        middle = begin + length / 2
        if middle - wide / 2 >= room[lane]:
            axes.text(middle, lane + 0.3, str(index + 1), fontsize=6.5, ha="center", va="bottom", color=SOFT)
            room[lane] = middle + wide / 2 + 1.5 / per_second
    names = {1.0: "in the mask", 0.0: "outside"} if inside is not None else {0.0: "fixations"}
    axes.set(xlim=(-0.004 * end, end * 1.004), ylim=(-0.42, max(lanes.values()) + 0.72))
    axes.set_yticks(list(names), list(names.values()), fontsize=9, color=INK)
    seconds = ticks(0, end, 10)
    axes.set_xticks(seconds, [f"{value:g}" for value in seconds], fontsize=8.5, color=SOFT)
    axes.set_xlabel("seconds from the first fixation; gaps are saccades and blinks", fontsize=9, color=SOFT)
    axes.tick_params(length=0, pad=5)
    axes.tick_params(axis="x", length=3, color=SOFT, pad=3)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(SOFT)
