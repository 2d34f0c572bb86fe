"""In which frame do the coordinates lie? Guesses for gaze that does not fit its images: displays, and shifts.

The controls of :mod:`gazeseg.gaze.quality` tell of axes and pairings; this tells of places. A guess is made only where
it puts clearly more fixations inside the masks than the coordinates as given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from gazeseg.gaze.geometry import Viewport
from gazeseg.gaze.quality import CLEARLY, BoolArray, in_mask_share
from gazeseg.types import Fixations

DISPLAYS: Final = (  # the most common first: of two that explain the gaze about equally well it is the likelier
    (1920, 1080),
    (1920, 1200),
    (1280, 1024),
    (1366, 768),
    (1536, 864),
    (2560, 1440),
    (1680, 1050),
    (1440, 900),
    (1600, 1200),
    (1024, 768),
    (1280, 720),
    (3840, 2160),
)
_TIE: Final = 0.02
_MOST: Final = 150  # cases that a guess rests on
_SHIFTS: Final = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)  # of the side
_FAR: Final = 0.2  # mean share off the image from which coordinates alone raise a guess

_Move = Callable[[Fixations], Fixations]


@dataclass(frozen=True, slots=True)
class Guess:
    """A frame that fits better: the mean share inside the masks if it is true, and one line for the user."""

    share: float
    text: str


def guess_frame(fixations: Mapping[str, Fixations], masks: Mapping[str, BoolArray]) -> Guess | None:
    """Return the frame that puts most fixations inside the masks, where it does so clearly.

    Args:
        fixations: fixations by case id.
        masks: (H, W) foreground by case id, none empty.
    """
    names = sorted(name for name, fix in fixations.items() if len(fix) and name in masks)
    names = names[:: -(-len(names) // _MOST)] if names else []
    if not names:
        return None

    def share(move: _Move) -> float:
        return float(np.mean([in_mask_share(move(fixations[name]), masks[name]) for name in names]))

    given = share(lambda fix: fix)
    found = [(share(move), what, fix) for what, fix, move in _candidates()]
    highest = max(candidate[0] for candidate in found)
    best, what, fix = next(candidate for candidate in found if candidate[0] >= highest - _TIE)
    if best < given + CLEARLY:
        return None
    return Guess(best, f"frame: {best:.3f} of the fixations lie inside if {what}, {given:.3f} as given: {fix}")


def guess_display(fixations: Mapping[str, Fixations]) -> str | None:
    """Return one line where gaze lies off its images in the way of screen px, for images without masks."""
    seen = [fix for fix in fixations.values() if len(fix)]
    if not seen or np.mean([1 - fix.on_image.mean() for fix in seen]) < _FAR:
        return None
    x, y = (np.concatenate([getattr(fix, name) for fix in seen]) for name in ("x_px", "y_px"))
    reach = (float(np.quantile(x, 0.995)), float(np.quantile(y, 0.995)))
    holding = (size for size in sorted(DISPLAYS) if reach[0] < size[0] and reach[1] < size[1])
    display = next(holding, None)
    if display is None or min(float(np.quantile(x, 0.005)), float(np.quantile(y, 0.005))) < -0.1 * display[1]:
        return None
    off = np.mean([1 - fix.on_image.mean() for fix in seen])
    return (
        f"frame: {off:.3f} of the fixations lie off their images and reach to {reach[0]:.0f}, {reach[1]:.0f}: these "
        f"may be px of a {display[0]} x {display[1]} display; import the recording with 'gazeseg gaze import --screen "
        f"{display[0]}x{display[1]}'"
    )


def _candidates() -> Iterator[tuple[str, str, _Move]]:
    """What could be true, the fix, and the move that undoes it."""
    for size in DISPLAYS:
        for kind in ("fit", "native", "stretch"):
            how = {"fit": "fitted to", "native": "in its own size in the middle of", "stretch": "stretched to"}[kind]
            yield (
                f"they are px of a {size[0]} x {size[1]} display with the image {how} it",
                f"import with 'gazeseg gaze import --screen {size[0]}x{size[1]} --viewport {kind}'",
                _from_screen(size, kind),
            )
    for dx in _SHIFTS:
        for dy in _SHIFTS:
            if dx or dy:
                sides = [
                    f"{abs(share):.0%} of the {side} further {ends[share > 0]}"
                    for share, side, ends in ((dx, "width", ("left", "right")), (dy, "height", ("up", "down")))
                    if share
                ]
                yield (
                    f"they belong {' and '.join(sides)}",
                    "the calibration is off, or the image lay elsewhere on the screen; give its place with --viewport",
                    _shifted(dx, dy),
                )


def _from_screen(size: tuple[int, int], kind: str) -> _Move:
    def move(fix: Fixations) -> Fixations:
        if kind == "fit":
            view = Viewport.fit(fix.image_size, size)
        elif kind == "native":
            view = Viewport.centred(fix.image_size, size)
        else:
            view = Viewport.box(fix.image_size, (0, 0, *size))
        x, y = view.to_image(fix.x_px, fix.y_px)
        return dataclasses.replace(fix, x_px=x, y_px=y)

    return move


def _shifted(dx: float, dy: float) -> _Move:
    def move(fix: Fixations) -> Fixations:
        height, width = fix.image_size
        return dataclasses.replace(fix, x_px=fix.x_px + dx * width, y_px=fix.y_px + dy * height)

    return move
