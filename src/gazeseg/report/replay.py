"""A reading that can be watched again: one HTML file that asks the network for nothing, and a GIF for slides."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import to_hex
from PIL import Image, ImageDraw

from gazeseg import __version__
from gazeseg.data.images import write_bytes
from gazeseg.data.schema import SIMULATED
from gazeseg.gaze.scanpath import end_ms, start_ms, until
from gazeseg.report.overlays import COLOURS, HALO, data_uri, fixation_radii, rgb
from gazeseg.report.reading import TIME_COLOURS, Reading, describe, dwell_density
from gazeseg.report.scanpath import TIME_MAP
from gazeseg.types import UInt8Array

SIDE: Final = 1200  # px of the longer side of the picture in the page
GIF_SIDE: Final = 420
GIF_FRAMES: Final = 120  # at most: a slide need not show every saccade
FRAME_MS: Final = 100


def replay_html(reading: Reading, path: Path) -> Path:
    """Write the replay of a reading as one self-contained HTML page; it appears whole or not at all.

    The page holds the fixations as they stand in the table, so it can also be read by a program: an object in the
    element ``#reading``, times in ms, positions in image px.

    Args:
        reading: With at least one fixation.
        path: The file.
    """
    loader = PackageLoader("gazeseg.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sources = {name: loader.get_source(environment, name)[0] for name in ("style.css", "replay.css", "replay.js")}
    style, more, script = (Markup(text) for text in sources.values())  # noqa: S704 - our own files
    data = json.dumps(page_data(reading), separators=(",", ":")).replace("<", "\\u003c")  # no tag ends the script
    html = environment.get_template("replay.html").render(
        reading=reading,
        version=__version__,
        simulated=SIMULATED if SIMULATED in reading.about else "",
        statistics=describe(reading.figures),
        has_truth=reading.truth is not None,
        rows=_rows(reading),
        data=Markup(data),  # noqa: S704 - JSON with every < escaped
        css=style,
        replay_css=more,
        script=script,
    )
    write_bytes(path, html.encode())
    return path


def page_data(reading: Reading) -> dict[str, Any]:
    """Return what the page's script draws from."""
    fix, inside = reading.fixations, reading.inside
    table = zip(*(array.tolist() for array in (fix.x_px, fix.y_px, fix.onset_ms, fix.duration_ms)), strict=True)
    names = ("x_px", "y_px", "onset_ms", "duration_ms")
    rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in table]
    for row, flag in zip(rows, inside.tolist() if inside is not None else [None] * len(rows), strict=True):
        row["inside"] = flag
    heat = np.rint(255 * mpl.colormaps["inferno"](np.linspace(0, 1, 64))[:, :3]).astype(int).tolist()
    side = max(reading.size)
    return {
        "case_id": reading.case_id,
        "size": list(reading.size),
        "start_ms": start_ms(fix),
        "end_ms": end_ms(fix),
        "sigma_px": list(reading.sigma_px),
        "radius_300_px": 0.02 * side,  # as overlays.fixation_radii
        "fixations": rows,
        "truth": [np.round(line[:: max(1, side // 600)], 1).tolist() for line in reading.outline],
        "colours": {"time": list(TIME_COLOURS), "heat": heat, "truth": COLOURS["truth"]},
        "image": data_uri(reading.image, SIDE),
    }


def _rows(reading: Reading) -> list[dict[str, str]]:
    fix, inside = reading.fixations, reading.inside
    answers = ["yes" if flag else "no" for flag in inside] if inside is not None else [""] * len(fix)
    start = start_ms(fix)
    return [
        {"colour": to_hex(TIME_MAP(t)), "onset": f"{(a - start) / 1000:.2f}", "duration": f"{d:.0f}", "inside": answer}
        for t, a, d, answer in zip(reading.course, fix.onset_ms, fix.duration_ms, answers, strict=True)
    ]


def replay_gif(reading: Reading, path: Path) -> Path:
    """Write the replay as a GIF that runs in real time, or faster where it would have more than 120 frames.

    Args:
        reading: With at least one fixation.
        path: The file; it appears whole or not at all.
    """
    fix = reading.fixations
    start, end = start_ms(fix), end_ms(fix)
    count = min(GIF_FRAMES, max(2, round((end - start) / FRAME_MS)))
    frames = [Image.fromarray(frame) for frame in _frames(reading, np.linspace(start, end, count + 1)[1:].tolist())]
    palette = frames[-1].quantize(192, method=Image.Quantize.MEDIANCUT)
    paletted = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    durations = [FRAME_MS] * (count - 1) + [2000]  # the end stays for a moment
    paletted[0].save(buffer, "GIF", save_all=True, append_images=paletted[1:], duration=durations, loop=0)
    write_bytes(path, buffer.getvalue())
    return path


def _frames(reading: Reading, moments: Sequence[float]) -> list[UInt8Array]:
    """Draw the image with heatmap, truth and scanpath at moments (ms of the table's clock)."""
    height, width = reading.size
    scale = min(1.0, GIF_SIDE / max(height, width)) if max(height, width) >= GIF_SIDE // 2 else 2.0
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    base = np.asarray(Image.fromarray(rgb(reading.image)).resize(shape[::-1], Image.Resampling.LANCZOS), np.float32)
    top = max(float(dwell_density(reading.fixations, reading.sigma_px, shape).max()), 1e-9)
    colours = [to_hex(colour) for colour in TIME_MAP(reading.course)]
    frames = []
    for moment in moments:
        seen = until(reading.fixations, float(moment))
        heat = np.clip(dwell_density(seen, reading.sigma_px, shape) / top, 0, 1)
        alpha = (0.8 * np.sqrt(heat))[..., None]
        mixed = base * (1 - alpha) + 255 * mpl.colormaps["inferno"](heat)[..., :3] * alpha
        twice = Image.fromarray(mixed.astype(np.uint8)).resize((2 * shape[1], 2 * shape[0]))  # smooth lines
        pen = ImageDraw.Draw(twice, "RGBA")
        for line in reading.outline:
            pen.line([(2 * scale * (x + 0.5), 2 * scale * (y + 0.5)) for x, y in line], COLOURS["truth"], 3)
        points = [(2 * scale * (x + 0.5), 2 * scale * (y + 0.5)) for x, y in zip(seen.x_px, seen.y_px, strict=True)]
        for k in range(1, len(points)):
            pen.line([points[k - 1], points[k]], colours[k], 3)
        for k, radius in enumerate(2 * scale * fixation_radii(seen, max(reading.size))):
            (x, y), edge = points[k], "white" if k in (0, len(points) - 1) else HALO
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), colours[k] + "a0", edge, 3)
        frames.append(np.asarray(twice.resize(shape[::-1], Image.Resampling.BOX)))
    return frames
