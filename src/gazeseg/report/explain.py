"""An explanation as one figure: the case and its reading above, then a line of maps for each thing to be shown.

Every map lies over the darkened grey image, so that its colours are its own. Maps of one kind share one scale, which
stands below; the range of each map stands in its corner.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke

from gazeseg.data.schema import SIMULATED
from gazeseg.predict.explanation import Explanation, Kind, Map
from gazeseg.report.overlays import COLOURS, HALO, contour_lines
from gazeseg.report.reading import Reading, describe
from gazeseg.report.scanpath import INK, SOFT, WARN, draw_scanpath, draw_truth, show_image

Scale = tuple[float, float]  # the values at which a scale begins and ends
RgbaArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

DPI: Final = 110
MOST_COLUMNS: Final = 6  # more would be too small to read: a longer line goes on below
WIDTH_IN: Final = 11.6
HEIGHT_IN: Final = 10.5  # of all lines of maps together, where that leaves them readable
MASKED: Final = "#cc79a7"  # Okabe and Ito's purple: the one that no role has
BELOW, ABOVE = "#3d9be9", "#f0692a"  # of a difference
DARK: Final = "#14181d"  # what a scale fades into where the image is dark
LABEL_IN, GAP_IN, MARGIN_IN = 1.15, 0.1, 0.2  # the names of the lines, the space between panels, the border


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A figure on which things are placed in inches from the top left."""

    figure: Figure
    width: float
    height: float

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = 1 - (top + height) / self.height
        return self.figure.add_axes((left / self.width, bottom, width / self.width, height / self.height))

    def write(self, left: float, top: float, text: str, size: float, colour: str = SOFT, **options: Any) -> None:
        x, y = left / self.width, 1 - top / self.height
        self.figure.text(x, y, text, parse_math=False, fontsize=size, color=colour, va="top", **options)


def explanation_figure(reading: Reading, explanation: Explanation, kind: Literal["png", "webp"] = "png") -> bytes:
    """Draw an explanation.

    Args:
        reading: The same case: image, truth and fixations, of which there may be none.
        explanation: With at least one map.
        kind: Of the image file; WebP is several times smaller, for pages that hold many figures.

    Returns:
        The content of the file.
    """
    height, width = reading.size
    rows = explanation.rows
    columns = min(max(3, *(len(maps) for maps in rows.values())), MOST_COLUMNS)
    lines = [(name, maps[k : k + columns]) for name, maps in rows.items() for k in range(0, len(maps), columns)]
    ratio = min(height / width, 1.5)
    fitting = max(HEIGHT_IN / len(lines) - 0.27, 1.5) / ratio
    panel_w = min(2.9, (WIDTH_IN - LABEL_IN - 2 * MARGIN_IN) / columns - GAP_IN, fitting)
    panel_h = panel_w * ratio
    fits = int(panel_w * 72 / 4.9)  # letters of a title
    title = 0.27 + 0.14 * any(len(layer.title) > fits for layer in explanation.maps)
    total_w = max(2 * MARGIN_IN + LABEL_IN + columns * (panel_w + GAP_IN) - GAP_IN, 8.6)
    first_w = min((total_w - 2 * MARGIN_IN - LABEL_IN - GAP_IN) / 2, max(1.5 * panel_w, 3.4))
    said = [reading.about, describe(reading.figures)]
    said += [f"Text: {explanation.description}"] if explanation.description else []
    text = [line for part in said for line in textwrap.wrap(part, int((total_w - 2 * MARGIN_IN) * 72 / 5.7))]
    head = 0.93 + 0.19 * len(text) + 0.2 * bool(explanation.notes)
    body = head + first_w * ratio + 0.14
    total_h = body + len(lines) * (panel_h + title) + 0.85
    sheet = _Sheet(Figure(figsize=(total_w, total_h), dpi=DPI, facecolor="white"), total_w, total_h)
    FigureCanvasAgg(sheet.figure)

    name = explanation.method + (f" ({explanation.status})" if explanation.status == "reconstruction" else "")
    sheet.write(MARGIN_IN, 0.18, explanation.case_id, 14, INK, fontweight="bold")
    sheet.write(total_w - MARGIN_IN, 0.22, f"method {name}", 10, INK, ha="right")
    colour = WARN if SIMULATED in reading.about else SOFT
    sheet.write(MARGIN_IN, 0.5, "\n".join(text), 9.5, colour, linespacing=1.35)
    sheet.write(MARGIN_IN, 0.5 + 0.19 * len(text), "; ".join(explanation.notes), 8.5, WARN)
    _draw_case(sheet, reading, head, (first_w, first_w * ratio))
    scales = scales_of(explanation.maps)
    for number, (row, maps) in enumerate(lines):
        top = body + number * (panel_h + title) + title
        if number == 0 or row != lines[number - 1][0]:
            sheet.write(MARGIN_IN, top, textwrap.fill(row, 15), 10, INK, fontweight="bold")
        for column, layer in enumerate(maps):
            axes = sheet.axes(MARGIN_IN + LABEL_IN + column * (panel_w + GAP_IN), top, panel_w, panel_h)
            draw_map(axes, layer, reading, scales[layer.kind])
            _entitle(axes, "\n".join(textwrap.wrap(layer.title, fits, max_lines=2, placeholder="…")))
    _draw_legend(sheet, reading, explanation.maps, scales, total_h - 0.52)
    buffer = io.BytesIO()
    sheet.figure.savefig(buffer, format=kind, pil_kwargs={"quality": 84} if kind == "webp" else None)
    return buffer.getvalue()


def draw_map(axes: Axes, layer: Map, reading: Reading, scale: Scale) -> None:
    """Draw one map over the image."""
    height, width = reading.size
    show_image(axes, reading.image, grey=True)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    coarse = max(layer.values.shape) < 64  # its cells are to be seen
    axes.imshow(colours(layer, scale), extent=extent, interpolation="nearest" if coarse else "bilinear")
    h, w = layer.values.shape
    low, high = float(layer.values.min()), float(layer.values.max())
    halo: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground=HALO)]
    if layer.kind == "probability" and low < 0.5 <= high:
        x, y = (np.arange(w) + 0.5) * width / w - 0.5, (np.arange(h) + 0.5) * height / h - 0.5
        border = axes.contour(x, y, layer.values, levels=[0.5], colors=COLOURS["prediction"], linewidths=1.4)
        border.set_path_effects(halo)
    if layer.kind == "mask":
        for line in contour_lines(layer.values >= 0.5):
            x, y = (line[:, 0] + 0.5) * width / w - 0.5, (line[:, 1] + 0.5) * height / h - 0.5
            axes.plot(x, y, color=mask_colour(layer), linewidth=1.4, path_effects=halo)
    draw_truth(axes, reading, linewidth=1.0)
    said = f"{low:.2f} to {high:.2f}" if layer.kind != "mask" else f"{layer.values.mean():.1%} of the image"
    axes.text(0.975, 0.02, said.replace("-", "−"), transform=axes.transAxes, fontsize=6.8, ha="right", va="bottom",
              color="white", path_effects=[withStroke(linewidth=1.8, foreground=HALO)])  # fmt: skip


def colours(layer: Map, scale: Scale) -> RgbaArray:
    """Return the colours (h, w, 4) of a map, transparent at the beginning of its scale, a difference at 0."""
    values = np.asarray(layer.values, np.float64)
    if layer.kind == "mask":
        out = np.broadcast_to(to_rgba(mask_colour(layer)), (*values.shape, 4)).copy()
        out[..., 3] = 0.5 * (values >= 0.5)
    elif layer.kind == "difference":
        out = np.where(values[..., None] < 0, to_rgba(BELOW), to_rgba(ABOVE))
        out[..., 3] = 0.95 * np.clip(np.abs(values), 0, 1)
    elif layer.kind == "probability":
        out = np.broadcast_to(to_rgba(COLOURS["prediction"]), (*values.shape, 4)).copy()
        out[..., 3] = 0.8 * np.clip(values, 0, 1)
    else:
        low, high = scale
        share = np.clip((values - low) / (high - low), 0, 1)
        out = mpl.colormaps["inferno"](share)
        out[..., 3] = 0.85 * np.sqrt(share)
    return out


def mask_colour(layer: Map) -> str:
    """Return the colour of a mask: that of its role where row or title name one, else that of what is hidden."""
    words = f"{layer.row} {layer.title}".lower()
    roles = {"pseudo": "pseudo", "gaze": "pseudo", "prediction": "prediction", "truth": "truth"}
    return next((COLOURS[role] for word, role in roles.items() if word in words), MASKED)


def scales_of(maps: Sequence[Map]) -> dict[str, Scale]:
    """Return the scale of each kind: 0 to 1, a difference -1 to 1.

    Attention without a target beside it, such as a share among many words, may stay within a narrow range; its scale
    is then that range, rounded outwards to one digit.
    """
    scales: dict[str, Scale] = dict.fromkeys(("probability", "attention", "target", "mask"), (0.0, 1.0))
    scales["difference"] = (-1.0, 1.0)
    looks = [layer.values for layer in maps if layer.kind == "attention"]
    if looks and not any(layer.kind == "target" for layer in maps):
        low, high = min(float(a.min()) for a in looks), max(float(a.max()) for a in looks)
        if high > low:
            step = 10.0 ** np.floor(np.log10(high - low))
            ends = np.round([np.floor(low / step) * step, np.ceil(high / step) * step], 6)
            scales["attention"] = float(ends[0]), float(ends[1])
    return scales


def _entitle(axes: Axes, text: str) -> None:
    axes.set_title(text, parse_math=False, fontsize=8.5, color=INK, loc="left", pad=3, linespacing=1.1)


def _draw_case(sheet: _Sheet, reading: Reading, top: float, size: tuple[float, float]) -> None:
    """Draw the case as it is, and its scanpath."""
    wide, high = size
    sheet.write(MARGIN_IN, top, "the case", 10, INK, fontweight="bold")
    axes = sheet.axes(MARGIN_IN + LABEL_IN, top, wide, high)
    show_image(axes, reading.image)
    draw_truth(axes, reading)
    _entitle(axes, "image and truth" if reading.truth is not None else "image")
    if len(reading.fixations):
        axes = sheet.axes(MARGIN_IN + LABEL_IN + wide + GAP_IN, top, wide, high)
        show_image(axes, reading.image)
        draw_scanpath(axes, reading, points_per_px=72 * wide / reading.size[1], number_pt=5.4)
        _entitle(axes, "scanpath, light to dark in time")


def _draw_legend(sheet: _Sheet, reading: Reading, maps: Sequence[Map], scales: dict[str, Scale], top: float) -> None:
    """Draw the scale of each kind that is there, and name the lines."""
    left = MARGIN_IN + LABEL_IN
    kinds = {layer.kind for layer in maps}
    looks = " and ".join(kind for kind in ("attention", "target") if kind in kinds)
    names: dict[Kind, str] = {"probability": "probability; line at 0.5", "attention": looks, "difference": "difference"}
    shown = kinds | ({"attention"} if "target" in kinds else set())
    for kind in (kind for kind in names if kind in shown):
        low, high = scales[kind]
        ramp = colours(Map("", "", np.linspace(low, high, 128, dtype=np.float32)[None], kind), scales[kind])
        dark = np.array(to_rgba(DARK))[:3]
        axes = sheet.axes(left, top, 1.5, 0.11)
        mixed = ramp[..., :3] * ramp[..., 3:] + dark * (1 - ramp[..., 3:])
        axes.imshow(mixed, extent=(low, high, 0, 1), aspect="auto")
        axes.set(xticks=[low, 0, high] if low < 0 else [low, high], yticks=[])
        axes.tick_params(labelsize=7.5, colors=SOFT, length=2, pad=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axes.set_title(names[kind], fontsize=8, color=SOFT, loc="left", pad=3)
        for spine in axes.spines.values():
            spine.set_visible(False)
        left += 1.8
    masks = {mask_colour(layer) for layer in maps if layer.kind == "mask"}
    lines = {"truth": COLOURS["truth"]} if reading.truth is not None else {}
    lines |= {"pseudo-mask": COLOURS["pseudo"]} if COLOURS["pseudo"] in masks else {}
    lines |= {"hidden": MASKED} if MASKED in masks else {}
    for name, colour in lines.items():
        axes = sheet.axes(left, top, 0.3, 0.11)
        halo = [withStroke(linewidth=4, foreground=HALO)]
        axes.plot([0, 1], [0.5, 0.5], color=colour, linewidth=2.5, path_effects=halo)
        axes.set_axis_off()
        sheet.write(left + 0.36, top - 0.02, name, 8.5, SOFT)
        left += 0.55 + 0.075 * len(name)
