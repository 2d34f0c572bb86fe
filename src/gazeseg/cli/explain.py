"""``gazeseg explain``: what a trained run makes of one case."""

from __future__ import annotations

from pathlib import Path


def explain(
    run: Path,
    case: str,
    /,
    *,
    data: Path | None = None,
    out: Path | None = None,
    checkpoint: str | None = None,
    device: str = "cpu",
) -> None:
    """Draw what a method shows of one case: its prediction and, where it has them, attention beside gaze, text, doubt.

    Example: `gazeseg explain runs/gradtrack_0 cju16ach3m1da0993r1dq3sn2 --out explained`

    The prediction needs the image alone. Gaze, pseudo-masks and text of the case are drawn beside it, as what the
    method was taught with.

    Args:
        run: The run folder.
        case: The case id.
        data: The data set folder; by default the one that the run learnt from.
        out: Folder for the figure; by default `RUN/explain`.
        checkpoint: `last` or `best`; by default what the run's `train.select` says.
        device: `cpu` or `cuda`.
    """
    from gazeseg.data.images import safe_name, write_bytes
    from gazeseg.predict.explain import explain_case, open_dataset
    from gazeseg.predict.predictor import Predictor
    from gazeseg.report.explain import explanation_figure
    from gazeseg.report.reading import load_reading

    predictor = Predictor.load(run, checkpoint=checkpoint, device=device)
    dataset = open_dataset(run, data)
    explanation = explain_case(predictor, dataset, case)
    path = (out or run / "explain") / f"{safe_name(case)}.png"
    write_bytes(path, explanation_figure(load_reading(dataset, case), explanation))
    for note in explanation.notes:
        print(f"note: {note}")
    print(f"figure: {path}")
