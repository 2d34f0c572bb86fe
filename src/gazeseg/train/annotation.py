"""What readers did for the supervision of a run, counted on its training cases when it starts."""

from __future__ import annotations

from collections.abc import Sequence

from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.times import reading_times
from gazeseg.train.runfolder import Annotation


def measure(dataset: Dataset, cases: Sequence[Case], *, gaze: bool, masks: int) -> Annotation:
    """Count the gaze and the masks behind a run.

    Simulated gaze took nobody's time: its cases count with the masks that it was drawn from.

    Args:
        dataset: The data set, with the gaze as it was recorded.
        cases: The training cases.
        gaze: Whether the method learns from gaze.
        masks: How many masks the loss may see.
    """
    times = reading_times(dataset) if gaze else {}
    timed = [times[case.case_id] for case in cases if case.case_id in times]
    watched = [fix for case in cases if len(fix := dataset.fixations[case.case_id])] if gaze else []
    if dataset.info.gaze.kind == "simulated":
        return Annotation(gaze_cases=0, fixation_s=0.0, viewing_s=0.0, masks=max(masks, len(watched)))
    return Annotation(
        gaze_cases=len(watched),
        fixation_s=sum(float(fix.duration_ms.sum()) for fix in watched) / 1000,
        viewing_s=sum(float((fix.onset_ms + fix.duration_ms).max() - fix.onset_ms.min()) for fix in watched) / 1000,
        masks=masks,
        timed_cases=len(timed),
        timed_s=sum(timed),
    )
