"""``gazeseg review``: look through cases, gaze and masks in the browser, and leave notes."""

from __future__ import annotations

from pathlib import Path

from gazeseg.errors import MissingDependencyError


def review(
    dataset: Path,
    /,
    *,
    pseudo: Path | None = None,
    predictions: Path | None = None,
    reviewer: str = "reviewer",
    port: int = 0,
) -> None:
    """Page through cases in the browser: gaze replay, heatmap, pseudo-mask, truth and prediction; flags and comments.

    Example: `gazeseg review DS --predictions out --reviewer anna`

    Notes go to `DS/review.csv`.

    Args:
        dataset: The data set folder.
        pseudo: A pseudo-mask folder; by default `DS/pseudo` where it is there.
        predictions: A folder of masks with the names of the cases, as `gazeseg predict` writes them.
        reviewer: Whose notes these are.
        port: Of the server; by default a free one.
    """
    from gazeseg.data.dataset import Dataset

    try:
        from gazeseg.record.review import Review, review_app
        from gazeseg.record.server import serve
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "fastapi", "web") from None

    opened = Review(Dataset.load(dataset), reviewer, pseudo=pseudo, predictions=predictions)
    serve(review_app(opened), port=port)
