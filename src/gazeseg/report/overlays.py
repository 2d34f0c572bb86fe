"""Gaze and contours over images: PNG sheets for people at the terminal, inline SVG panels for the report.

One set of colours holds everywhere: truth, prediction, pseudo-mask and gaze keep theirs from sheet to report. They come
from Okabe and Ito's palette, which colour-blind readers can tell apart, lightened where it must show on dark images;
each line has a dark halo, so it shows on bright ones too.
"""

from __future__ import annotations

import base64
import io
import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import Stroke, withStroke
from PIL import Image

from gazeseg.data.images import write_bytes
from gazeseg.report.figures import render
from gazeseg.types import Fixations, Float32Array, FloatArray, UInt8Array

COLOURS = {"truth": "#2fd6a2", "prediction": "#f0e442", "pseudo": "#56b4e9", "gaze": "#e69f00"}
LEVEL_SHADES = ("#56b4e9", "#a6d8f5", "#2b83ba", "#d4ecfa")  # pseudo-mask levels, the first is the named colour
HALO = "#101418"
BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a sheet.

    ``image`` (H, W, C) uint8 with C = 1 or 3; ``heat`` (H, W) in [0, 1]; every contour is an (H, W) mask. The part of a
    contour's name before the first space names its role and so its colour: ``truth``, ``prediction``, ``pseudo 0.5``.
    """

    image: UInt8Array
    title: str = ""
    fixations: Fixations | None = None
    heat: Float32Array | None = None
    contours: Mapping[str, BoolMask] = field(default_factory=dict)


def contour_lines(mask: BoolMask) -> list[FloatArray]:
    """Trace the border of a mask (H, W) as closed polygons (N, 2) of x, y in pixels; holes come as polygons too."""
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = rows[0], columns[0]
    found = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    padded = np.pad(found.astype(np.float32), 1)  # so that a region at the image border closes
    shift = np.array([left - 1, top - 1], dtype=np.float64)
    axes = Figure().add_subplot()
    paths = axes.contour(padded, levels=[0.5]).get_paths()
    return [
        np.asarray(polygon, dtype=np.float64) + shift
        for path in paths
        for polygon in path.to_polygons(closed_only=False)
    ]


def contour_styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the colour and the SVG dash pattern of each contour name; pseudo-mask levels take shades and dashes."""
    styles: dict[str, tuple[str, str]] = {}
    level = 0
    for name in names:
        role = name.partition(" ")[0]
        if role == "pseudo":
            dash = ("", "7 3", "2 3", "9 3 2 3")[level % 4]
            styles[name] = (LEVEL_SHADES[level % len(LEVEL_SHADES)], dash)
            level += 1
        else:
            styles[name] = (COLOURS.get(role, "#ffffff"), "")
    return styles


def fixation_radii(fixations: Fixations, side: float) -> FloatArray:
    """Radii (K,) whose circles' **areas** are proportional to duration; 300 ms is 2 % of ``side`` (px)."""
    return 0.02 * side * np.sqrt(fixations.duration_ms / 300.0)


def overlay_sheet(panels: Sequence[Panel], path: Path, *, columns: int = 4, title: str = "") -> Path:
    """Write panels as one PNG with a single legend.

    Args:
        panels: At least one picture.
        path: The file; it appears whole or not at all.
        columns: Panels a row.
        title: Heading of the sheet.

    Raises:
        ValueError: if there is no panel.
    """
    if not panels:
        raise ValueError("a sheet needs at least one panel")
    columns = max(1, min(columns, len(panels)))
    rows = math.ceil(len(panels) / columns)
    names = list(dict.fromkeys(name for panel in panels for name in panel.contours))
    styles = contour_styles(names)
    ratio = float(np.median([panel.image.shape[0] / panel.image.shape[1] for panel in panels]))
    width = 3.3 * columns
    head = 0.55 if title else 0.15
    height = head + 0.55 + rows * (3.2 * min(max(ratio, 0.4), 1.6) + 0.32)
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, styles)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    handles = [
        Line2D(
            [],
            [],
            color=colour,
            linewidth=2,
            linestyle=_mpl_dash(dash),
            label=name.replace("$", r"\$"),
            path_effects=_halo(3.4),
        )
        for name, (colour, dash) in styles.items()
    ]
    if any(panel.fixations is not None for panel in panels):
        handles.insert(0, _gaze_handle())
    if title:
        figure.text(
            0.012, 1 - 0.16 / height, title, parse_math=False, fontsize=12, fontweight="bold", va="top", color="#1b2128"
        )
    if handles:
        figure.legend(
            handles=handles, loc="lower center", ncols=min(len(handles), 2 * columns), frameon=False, fontsize=9
        )
    figure.subplots_adjust(
        left=0.012, right=0.988, top=1 - (head + 0.22) / height, bottom=0.42 / height, wspace=0.04, hspace=0.16
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
    return path


def _draw(axes: Axes, panel: Panel, styles: Mapping[str, tuple[str, str]]) -> None:
    height, width = panel.image.shape[:2]
    side = max(height, width)
    step = max(1, side // 800)  # a panel has about 400 px: more of a large image only costs time
    axes.imshow(rgb(panel.image[::step, ::step]), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    if panel.heat is not None:
        heat = panel.heat[::step, ::step]
        axes.imshow(
            heat, cmap="inferno", alpha=0.75 * np.sqrt(heat), vmin=0, vmax=1, extent=axes.get_images()[0].get_extent()
        )
    for name, mask in panel.contours.items():
        colour, dash = styles[name]
        for line in contour_lines(mask):
            axes.plot(
                line[:, 0], line[:, 1], color=colour, linewidth=1.5, linestyle=_mpl_dash(dash), path_effects=_halo(2.8)
            )
    if panel.fixations is not None and len(panel.fixations):
        fixations = panel.fixations
        axes.plot(fixations.x_px, fixations.y_px, color=COLOURS["gaze"], linewidth=0.7, alpha=0.8)
        centres = zip(fixations.x_px, fixations.y_px, fixation_radii(fixations, side), strict=True)
        circles = [Circle((x, y), radius) for x, y, radius in centres]
        first = np.arange(len(circles)) == 0
        face = [(*_hex(COLOURS["gaze"]), 1.0 if k else 0.5) for k in first]
        edge = ["white" if k else HALO for k in first]
        axes.add_collection(
            PatchCollection(circles, facecolor=face, edgecolor=edge, linewidth=np.where(first, 1.2, 0.6))
        )
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    axes.set_title(panel.title, parse_math=False, fontsize=8.5, color="#1b2128", pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _gaze_handle() -> Line2D:
    return Line2D(
        [], [], color=COLOURS["gaze"], linewidth=0.8, marker="o", markersize=8, markeredgecolor=HALO,
        label="fixations: area by duration, the first ringed in white",
    )  # fmt: skip


def _halo(width: float) -> list[Stroke]:
    return [withStroke(linewidth=width, foreground=HALO, alpha=0.55)]


def _mpl_dash(dash: str) -> tuple[float, tuple[float, ...]] | Literal["-"]:
    """Turn an SVG dash pattern into Matplotlib's, whose unit is the line width."""
    return (0, tuple(float(part) * 0.7 for part in dash.split())) if dash else "-"


def _hex(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue


def rgb(image: UInt8Array) -> UInt8Array:
    """Return an image (H, W, 1 or 3) with three channels."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]


def data_uri(image: UInt8Array, side: int) -> str:
    """Encode an image (H, W, C) as a JPEG data URI whose longer side is at most ``side`` pixels."""
    picture = Image.fromarray(rgb(image))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return image_uri(buffer.getvalue(), "jpeg")


def image_uri(content: bytes, kind: str) -> str:
    """Return the content of an image file of a ``kind`` such as ``png`` as a data URI."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")


def heat_uri(heat: Float32Array, side: int = 160) -> str:
    """Encode a map (H, W) in [0, 1] as a transparent PNG data URI in the colour of gaze; it is smooth, so small."""
    step = max(1, max(heat.shape) // side)
    values = heat[::step, ::step]
    rgba = np.empty((*values.shape, 4), np.uint8)
    rgba[..., :3] = [round(255 * part) for part in _hex(COLOURS["gaze"])]
    rgba[..., 3] = np.round(230 * values)
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", optimize=True)
    return image_uri(buffer.getvalue(), "png")


def image_symbols(uris: Mapping[str, tuple[str, tuple[int, int]]]) -> Markup:
    """Define each image once for all panels that show it: element id -> (data URI, (H, W) of the original)."""
    root = ET.Element("svg", {"width": "0", "height": "0", "class": "symbols", "aria-hidden": "true"})
    for name, (uri, (height, width)) in uris.items():
        size = {"width": str(width), "height": str(height)}
        symbol = ET.SubElement(root, "symbol", {"id": name, "viewBox": f"0 0 {width} {height}"})
        ET.SubElement(symbol, "image", {"href": uri, "preserveAspectRatio": "none", **size})
    return render(root)


def panel_svg(symbol: str, panel: Panel) -> Markup:
    """Draw a panel over the image ``symbol`` of :func:`image_symbols`; layers carry the CSS class of their role.

    The viewBox is in image pixels with corners as origin, so a pixel centre (x, y) lies at (x + 0.5, y + 0.5).
    """
    height, width = panel.image.shape[:2]
    side = max(height, width)
    root = ET.Element(
        "svg", {"viewBox": f"0 0 {width} {height}", "class": "panel", "role": "img", "aria-label": panel.title}
    )
    ET.SubElement(root, "use", {"href": f"#{symbol}", "width": str(width), "height": str(height)})
    if panel.heat is not None:
        layer = ET.SubElement(root, "g", {"class": "layer gaze"})
        size = {"width": str(width), "height": str(height), "preserveAspectRatio": "none"}
        ET.SubElement(layer, "image", {"href": heat_uri(panel.heat), **size})
    for name, (colour, dash) in contour_styles(list(panel.contours)).items():
        lines = contour_lines(panel.contours[name])
        outline = "".join(
            "M" + "L".join(f"{x + 0.5:.1f} {y + 0.5:.1f}" for x, y in _thin(line, side)) + "Z" for line in lines
        )
        layer = ET.SubElement(root, "g", {"class": f"layer {name.partition(' ')[0]}"})
        ET.SubElement(layer, "title").text = name
        if outline:
            ET.SubElement(layer, "path", {"d": outline, "class": "halo"})
            style = f"stroke:{colour}" + (f";stroke-dasharray:{dash}" if dash else "")
            ET.SubElement(layer, "path", {"d": outline, "style": style})
    if panel.fixations is not None and len(panel.fixations):
        _scanpath(root, panel.fixations, side)
    return render(root)


def _scanpath(root: ET.Element, fixations: Fixations, side: int) -> None:
    layer = ET.SubElement(root, "g", {"class": "layer gaze"})
    x, y = fixations.x_px + 0.5, fixations.y_px + 0.5
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    ET.SubElement(layer, "polyline", {"points": points})
    radii = fixation_radii(fixations, side)
    for index, (a, b, radius) in enumerate(zip(x, y, radii, strict=True)):
        place = {"cx": f"{a:.1f}", "cy": f"{b:.1f}", "r": f"{radius:.1f}"}
        circle = ET.SubElement(layer, "circle", {**place, "class": "first"} if index == 0 else place)
        ET.SubElement(circle, "title").text = f"fixation {index + 1}: {fixations.duration_ms[index]:.0f} ms"


def _thin(line: FloatArray, side: int) -> FloatArray:
    """Keep about one vertex per 1/300 of the image; a panel is some 300 px wide, so more cannot be seen."""
    step = max(1, side // 300)
    return line[::step] if len(line) >= 4 * step else line
