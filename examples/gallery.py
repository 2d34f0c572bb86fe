"""Make the pictures of docs/gallery.md from what the tool itself writes about the demo: no picture is drawn by hand.

    gazeseg demo --out demo
    python examples/gallery.py demo docs/images/gallery

Needs the extra ``dev`` and a Chromium for the pages. Images and gaze are generated; the gaze uses the true masks.
"""

import shutil
import sys
import tempfile
import threading
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageSequence
from playwright.sync_api import sync_playwright

from gazeseg.cli import main
from gazeseg.data.dataset import Dataset
from gazeseg.record.review import Review, review_app
from gazeseg.record.server import bind

CASES = ("endoscopy-12_1", "mr-13_1", "ultrasound-12_1")  # of the test split, one a look


def run(*words: str | Path) -> None:
    """Run a verb.

    Raises:
        SystemExit: if it fails.
    """
    if main([str(word) for word in words]):
        raise SystemExit(f"gazeseg {' '.join(map(str, words))} failed")


def keep(picture: Path, out: Path, *, width: int = 1100, bottom: float = 1.0) -> None:
    """Store a picture as WebP, at most ``width`` px wide; ``bottom`` is the share of its height to keep."""
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    image = image.crop((0, 0, image.width, round(bottom * image.height)))
    image.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
    image.save(out, quality=82, method=6)


def animate(gif: Path, out: Path, *, width: int = 420, every: int = 2) -> None:
    """Store every second frame of an animation as animated WebP."""
    with Image.open(gif) as opened:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(opened)][::every]
        duration_ms = every * opened.info["duration"]
    for frame in frames:
        frame.thumbnail((width, width), Image.Resampling.LANCZOS)
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=duration_ms, loop=0, quality=60, method=6)


def draw_doubt(data: Dataset, predicted: Path, out: Path) -> None:
    """Draw image, mask, entropy and disagreement of a case a line, as ``gazeseg predict --uncertainty`` wrote them."""
    figure, axes = plt.subplots(len(CASES), 4, figsize=(9, 2.5 * len(CASES)), layout="constrained")
    for line, case_id in zip(axes, CASES, strict=True):
        maps = [
            ("image", Image.open(data.case(case_id).image), {}),
            ("mask", Image.open(predicted / f"{case_id}.png"), {"cmap": "gray", "vmin": 0, "vmax": 1}),
        ]
        for name in ("entropy", "disagreement"):
            stored = np.asarray(Image.open(predicted / "uncertainty" / name / f"{case_id}.png"), np.float64) / 65535
            maps.append(
                (f"{name}, up to {stored.max():.2f}", stored, {"cmap": "magma", "vmin": 0, "vmax": stored.max()})
            )
        for place, (title, values, look) in zip(line, maps, strict=True):
            place.imshow(values, **look)
            place.set_title(title, fontsize=9, loc="left")
            place.axis("off")
    figure.savefig(out, dpi=110)
    plt.close(figure)


def shoot(url: str, shot: Path) -> None:
    """Take a picture of a page as it opens."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
        page.goto(url)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(2000)  # pictures of the review page are decoded after the network is idle
        page.screenshot(path=shot)
        browser.close()


def shoot_review(data: Dataset, predicted: Path, shot: Path) -> None:
    """Serve the review page and take its picture."""
    bound = bind(review_app(Review(data, "gallery", pseudo=None, predictions=predicted)))
    server = threading.Thread(target=bound.server.run, kwargs={"sockets": [bound.listener]}, daemon=True)
    server.start()
    shoot(bound.url, shot)
    bound.server.should_exit = True
    server.join()


def make(demo: Path, out: Path) -> None:
    """Make every picture of the gallery from a demo folder."""
    out.mkdir(parents=True, exist_ok=True)
    data, gms = Dataset.load(demo / "data"), demo / "runs" / "gazemedseg"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        keep(demo / "data" / "check.png", out / "check.webp")
        keep(demo / "data" / "pseudo" / "overlay.png", out / "masks.webp")
        run("inspect", demo / "data", CASES[1], "--out", work, "--gif")
        keep(work / f"{CASES[1]}.png", out / "inspect.webp")
        animate(work / f"{CASES[1]}.gif", out / "replay.webp")
        run("explain", gms, CASES[0], "--out", work)
        keep(work / f"{CASES[0]}.png", out / "explain.webp")
        run("calibrate", gms, "--measure", "test")
        (work / "images").mkdir()
        for case_id in (data.cases[0].case_id, *CASES):  # the first is the one that the review page opens
            shutil.copy(data.case(case_id).image, work / "images")
        run("predict", gms, work / "images", "--out", work / "predicted", "--uncertainty")
        draw_doubt(data, work / "predicted", work / "doubt.png")
        keep(work / "doubt.png", out / "uncertainty.webp")
        run("report", gms, demo / "runs" / "full", "--out", work / "report.html")
        page = (work / "report.html").as_uri()
        shoot(page, work / "report.png")
        keep(work / "report.png", out / "report.webp")
        shoot(page + "#uncertainty", work / "risk.png")
        keep(work / "risk.png", out / "risk.webp")
        shoot_review(data, work / "predicted", work / "review.png")
        keep(work / "review.png", out / "review.webp")
    total = sum(file.stat().st_size for file in out.glob("*.webp"))
    print(f"{len(list(out.glob('*.webp')))} pictures in {out}, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
