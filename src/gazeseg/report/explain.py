"""An explanation as one figure: the case and its reading above, then a line of maps for each thing to be shown.

Every map lies over the darkened grey image, so that its colours are its own. Maps of one kind share one scale, which
stands below; the range of each map stands in its corner.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from gazeseg.data.schema import SIMULATED
from gazeseg.predict.explanation import Explanation, Map
from gazeseg.report.overlays import COLOURS, HALO, contour_lines
from gazeseg.report.reading import Reading, describe
from gazeseg.report.scanpath import INK, SOFT, WARN, draw_scanpath, draw_truth, show_image

DPI: Final = 110
MOST_COLUMNS: Final = 6  # more would be too small to read: a longer line goes on below
WIDTH_IN: Final = 11.6
HEIGHT_IN: Final = 10.5  # of all lines of maps together, where that leaves them readable
MASKED: Final = "#cc79a7"  # Okabe and Ito's purple: the one that no role has
BELOW, ABOVE = "#3d9be9", "#f0692a"  # of a difference
DARK: Final = "#14181d"  # what a scale fades into where the image is dark


def explanation_figure(reading: Reading, explanation: Explanation) -> bytes:
    """Draw an explanation as PNG.

    Args:
        reading: The same case: image, truth and fixations, of which there may be none.
        explanation: With at least one map.

    Returns:
        The content of the file.
    """
    height, width = reading.size
    rows = explanation.rows
    columns = min(max(3, *(len(maps) for maps in rows.values())), MOST_COLUMNS)
    label, gap, margin, head, foot, title = 1.15, 0.1, 0.2, 0.96, 0.85, 0.27
    head += 0.2 * bool(explanation.notes)
    lines = [(name, maps[k : k + columns]) for name, maps in rows.items() for k in range(0, len(maps), columns)]
    ratio = min(height / width, 1.5)
    fitting = max(HEIGHT_IN / len(lines) - title, 1.5) / ratio
    panel_w = min(2.9, (WIDTH_IN - label - 2 * margin) / columns - gap, fitting)
    panel_h = panel_w * ratio
    wide = panel_w * 1.35  # of the pictures in the first line, on which more is to be seen
    high = wide * panel_h / panel_w
    total_w = 2 * margin + label + max(columns * (panel_w + gap), 2 * (wide + gap), 6.0)
    said = explanation.description and f"Text: {explanation.description}"
    text = textwrap.wrap(said, int((total_w - 2 * margin) * 72 / 5.2))
    head += 0.19 * len(text)
    total_h = head + title + high + 0.14 + len(lines) * (panel_h + title) + foot
    figure = Figure(figsize=(total_w, total_h), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def place(left: float, top: float, w: float, h: float) -> Axes:
        return figure.add_axes((left / total_w, 1 - (top + h) / total_h, w / total_w, h / total_h))

    def write(left: float, top: float, text: str, size: float, colour: str = SOFT, **options: Any) -> None:
        figure.text(left / total_w, 1 - top / total_h, text, parse_math=False, fontsize=size, color=colour, va="top",
                    **options)  # fmt: skip

    name = explanation.method + (f" ({explanation.status})" if explanation.status == "reconstruction" else "")
    write(margin, 0.18, explanation.case_id, 14, INK, fontweight="bold")
    write(total_w - margin, 0.22, f"method {name}", 10, INK, ha="right")
    write(margin, 0.5, reading.about, 9.5, WARN if SIMULATED in reading.about else SOFT)
    write(margin, 0.71, describe(reading.figures), 9.5)
    write(margin, 0.93, "\n".join(text), 9.5, INK, linespacing=1.35)
    write(margin, 0.93 + 0.19 * len(text), "; ".join(explanation.notes), 8.5, WARN)
    _first_line(place, write, reading, margin + label, head + title, (wide, high))
    top = head + title + high + 0.14
    before = ""
    scales = _scales(explanation.maps)
    for row, maps in lines:
        if row != before:
            write(margin, top + title, textwrap.fill(row, 15), 10, INK, fontweight="bold")
        before = row
        for column, layer in enumerate(maps):
            axes = place(margin + label + column * (panel_w + gap), top + title, panel_w, panel_h)
            draw_map(axes, layer, reading, scales[layer.kind])
            fits = int(panel_w * 72 / 4.3)
            axes.set_title(textwrap.shorten(layer.title, fits, placeholder="…"), parse_math=False, fontsize=8.5,
                           color=INK, loc="left", pad=3)  # fmt: skip
        top += panel_h + title
    _legend(place, write, reading, explanation.maps, scales, margin + label, top + 0.33)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def smaller(png: bytes) -> bytes:
    """Return a figure as WebP, for pages that hold many."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "WEBP", quality=84, method=4)
    return buffer.getvalue()


def draw_map(axes: Axes, layer: Map, reading: Reading, top: float) -> None:
    """Draw one map over the image; ``top`` is the end of its scale."""
    height, width = reading.size
    show_image(axes, reading.image, grey=True)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    coarse = max(layer.values.shape) < 64  # its cells are to be seen
    axes.imshow(colours(layer, top), extent=extent, interpolation="nearest" if coarse else "bilinear")
    h, w = layer.values.shape
    if layer.kind == "probability" and layer.values.min() < 0.5 <= layer.values.max():
        x, y = (np.arange(w) + 0.5) * width / w - 0.5, (np.arange(h) + 0.5) * height / h - 0.5
        border = axes.contour(x, y, layer.values, levels=[0.5], colors=COLOURS["prediction"], linewidths=1.4)
        border.set_path_effects([withStroke(linewidth=2.6, foreground=HALO)])
    if layer.kind == "mask":
        colour = _mask_colour(layer.title)
        for line in contour_lines(layer.values >= 0.5):
            x, y = (line[:, 0] + 0.5) * width / w - 0.5, (line[:, 1] + 0.5) * height / h - 0.5
            axes.plot(x, y, color=colour, linewidth=1.4, path_effects=[withStroke(linewidth=2.6, foreground=HALO)])
    draw_truth(axes, reading, linewidth=1.0)
    low, high = float(layer.values.min()), float(layer.values.max())
    said = f"{low:.2f} to {high:.2f}" if layer.kind != "mask" else f"{layer.values.mean():.1%} of the image"
    axes.text(0.985, 0.02, said.replace("-", "−"), transform=axes.transAxes, fontsize=6.8, ha="right", va="bottom",
              color="white", path_effects=[withStroke(linewidth=1.8, foreground=HALO)])  # fmt: skip


def colours(layer: Map, top: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the colours (h, w, 4) of a map, transparent where it says nothing; ``top`` is the end of its scale."""
    values = np.asarray(layer.values, np.float64)
    if layer.kind == "mask":
        out = np.broadcast_to(to_rgba(_mask_colour(layer.title)), (*values.shape, 4)).copy()
        out[..., 3] = 0.5 * (values >= 0.5)
        return out
    if layer.kind == "difference":
        share = np.clip(values / top, -1, 1)
        out = np.where(share[..., None] < 0, to_rgba(BELOW), to_rgba(ABOVE))
        out[..., 3] = 0.9 * np.abs(share) ** 0.75
        return out
    share = np.clip(values / top, 0, 1)
    out = _MAPS[layer.kind](share)
    out[..., 3] = 0.85 * np.sqrt(share) if layer.kind != "probability" else 0.8 * share
    return out


_HEAT = mpl.colormaps["inferno"]
_YELLOW = LinearSegmentedColormap.from_list("probability", [COLOURS["prediction"]] * 2)
_MAPS: Final = {"attention": _HEAT, "target": _HEAT, "probability": _YELLOW}


def _mask_colour(title: str) -> str:
    """Return the colour of a mask by the first word of its title, that of things masked by default."""
    return COLOURS.get(title.partition(" ")[0].lower().removesuffix("-mask"), MASKED)


def _scales(maps: Sequence[Map]) -> dict[str, float]:
    """Return the end of the scale of each kind: 1, except where no attention comes near it."""
    ends = dict.fromkeys(("probability", "attention", "target", "difference", "mask"), 1.0)
    looks = [float(layer.values.max()) for layer in maps if layer.kind in ("attention", "target")]
    if looks and 0 < max(looks) < 0.5:
        step = 10.0 ** np.floor(np.log10(max(looks)))
        ends["attention"] = ends["target"] = float(np.ceil(max(looks) / step) * step)
    return ends


def _first_line(
    place: Callable[[float, float, float, float], Axes],
    write: Callable[..., None],
    reading: Reading,
    left: float,
    top: float,
    size: tuple[float, float],
) -> None:
    """Draw the case as it is, and its scanpath."""
    wide, high = size
    write(left - 1.15, top, "the case", 10, INK, fontweight="bold")
    axes = place(left, top, wide, high)
    show_image(axes, reading.image)
    draw_truth(axes, reading)
    axes.set_title(
        "image and truth" if reading.truth is not None else "image", fontsize=8.5, color=INK, loc="left", pad=3
    )
    left += wide + 0.1
    if len(reading.fixations):
        axes = place(left, top, wide, high)
        show_image(axes, reading.image)
        draw_scanpath(axes, reading, points_per_px=72 * wide / reading.size[1])
        axes.set_title("scanpath, light to dark in time", fontsize=8.5, color=INK, loc="left", pad=3)


def _legend(
    place: Callable[[float, float, float, float], Axes],
    write: Callable[..., None],
    reading: Reading,
    maps: Sequence[Map],
    scales: dict[str, float],
    left: float,
    top: float,
) -> None:
    """Draw the scale of each kind that is there, and name the lines."""
    kinds = {layer.kind for layer in maps}
    bars: list[tuple[str, Map, float, float]] = []
    ramp = np.linspace(0, 1, 128, dtype=np.float32)[None]
    if "probability" in kinds:
        bars.append(("probability; line at 0.5", Map("", "", ramp, "probability"), 0, 1))
    if kinds & {"attention", "target"}:
        named = " and ".join(kind for kind in ("attention", "target") if kind in kinds)
        bars.append((named, Map("", "", ramp * np.float32(scales["attention"]), "attention"), 0, scales["attention"]))
    if "difference" in kinds:
        bars.append(("difference", Map("", "", 2 * ramp - 1, "difference"), -1, 1))
    for name, layer, low, high in bars:
        axes = place(left, top, 1.5, 0.11)
        rgba = colours(layer, scales[layer.kind])
        dark = np.array(to_rgba(DARK))[:3]
        axes.imshow(rgba[..., :3] * rgba[..., 3:] + dark * (1 - rgba[..., 3:]), extent=(low, high, 0, 1), aspect="auto")
        axes.set_yticks([])
        axes.set_xticks([low, high] if low == 0 else [low, 0, high])
        axes.tick_params(labelsize=7.5, colors=SOFT, length=2, pad=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axes.set_title(name, fontsize=8, color=SOFT, loc="left", pad=3)
        for spine in axes.spines.values():
            spine.set_visible(False)
        left += 1.75
    entries = [("truth", COLOURS["truth"])] if reading.truth is not None else []
    entries += [("masked", MASKED)] if any(m.kind == "mask" and _mask_colour(m.title) == MASKED for m in maps) else []
    for name, colour in entries:
        axes = place(left, top, 0.3, 0.11)
        axes.plot(
            [0, 1], [0.5, 0.5], color=colour, linewidth=2.5, path_effects=[withStroke(linewidth=4, foreground=HALO)]
        )
        axes.set_axis_off()
        write(left + 0.36, top - 0.02, name, 8.5, SOFT)
        left += 1.0
