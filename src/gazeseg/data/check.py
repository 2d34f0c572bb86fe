"""What ``gazeseg check`` finds: counts, disjoint splits, gaze quality, and controls of the coordinate frame."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from gazeseg.data.dataset import Dataset
from gazeseg.data.schema import SIMULATED
from gazeseg.data.split import check_splits, shared_images
from gazeseg.gaze.quality import control_shares, frame_verdict, gaze_quality, summarise
from gazeseg.types import IGNORE


def check_dataset(dataset: Dataset) -> dict[str, Any]:
    """Measure a data set; every value is JSON-able.

    Raises:
        DataError: if a case or a patient stands in two splits, or a mask cannot be read.
    """
    check_splits(dataset.cases)
    heights = [case.height for case in dataset.cases]
    widths = [case.width for case in dataset.cases]
    with_gaze = [case for case in dataset.cases if len(dataset.fixations[case.case_id])]
    result: dict[str, Any] = {
        "dataset": dataset.info.name,
        "cases": len(dataset.cases),
        "patients": len({case.patient_id for case in dataset.cases}),
        "splits": dict(Counter(case.split for case in dataset.cases)),
        "split_note": dataset.info.split_note,
        "height_px": {"min": min(heights), "median": float(np.median(heights)), "max": max(heights)},
        "width_px": {"min": min(widths), "median": float(np.median(widths)), "max": max(widths)},
        "masks": sum(case.mask is not None for case in dataset.cases),
        "without_image": sum(case.image is None for case in dataset.cases),
        "gaze_kind": dataset.info.gaze.kind,
        "cases_with_gaze": len(with_gaze),
        "without_gaze": sorted(
            case.case_id for case in dataset.cases if case.split == "train" and not len(dataset.fixations[case.case_id])
        ),
        "shared_images": [[[case.case_id, case.split] for case in twins] for twins in shared_images(dataset.cases)],
    }
    if not with_gaze:
        return result
    masks = {}
    for case in with_gaze:
        if case.mask is not None:
            truth = dataset.mask(case)
            masks[case.case_id] = (truth > 0) & (truth != IGNORE)
    result["gaze"] = summarise(
        [gaze_quality(dataset.fixations[case.case_id], masks.get(case.case_id)) for case in with_gaze]
    )
    seen = {name: mask for name, mask in masks.items() if mask.any()}
    if len(seen) > 1:
        controls = control_shares({name: dataset.fixations[name] for name in seen}, seen)
        result["controls"] = controls
        result["verdict"] = frame_verdict(controls)
    return result


def describe(result: dict[str, Any]) -> str:
    """Tell the findings of :func:`check_dataset` to a person."""
    splits = ", ".join(f"{count} {name}" for name, count in sorted(result["splits"].items()))
    height, width = result["height_px"], result["width_px"]
    lines = [
        f"{result['dataset']}: {result['cases']} cases of {result['patients']} patients ({splits}), "
        f"{result['masks']} with mask, {result['cases_with_gaze']} with {result['gaze_kind']} gaze",
        f"split: {result['split_note']}" if result["split_note"] else "split: no case or patient stands in two splits",
        f"size: {height['min']}..{height['max']} x {width['min']}..{width['max']} px (H x W), "
        f"median {height['median']:g} x {width['median']:g}",
    ]
    if result["gaze_kind"] == "simulated":
        lines.append(SIMULATED)
    for twins in result["shared_images"]:
        names = " = ".join(f"{case_id} ({split})" for case_id, split in twins)
        lines.append(f"ONE IMAGE IN TWO SPLITS: {names}; set the split of one to none in cases.csv")
    if result["without_image"]:
        lines.append(f"{result['without_image']} cases have no image: gaze and masks can be measured, not trained on")
    missing = result["without_gaze"]
    if missing and result["cases_with_gaze"]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        lines.append(f"{len(missing)} training cases have no gaze and add nothing: {', '.join(missing[:5])}{more}")
    gaze = result.get("gaze")
    if gaze is None:
        return "\n".join([*lines, "no gaze"])
    lines.append(_figures("fixations a case", gaze["fixations"], 1))
    lines.append(_figures("gaze time a case, s", gaze["duration_s"], 1))
    lines.append(_figures("share off the image", gaze["off_image_share"], 3))
    if "in_mask_share" in gaze:
        lines.append(_figures("share of fixations inside the mask", gaze["in_mask_share"], 3))
        lines.append(_figures("gaze to mask centroid, share of the side", gaze["centroid_offset"], 4))
    for name, values in result.get("controls", {}).items():
        lines.append(_figures(f"  inside, {name}", values, 3))
    if "verdict" in result:
        lines.append(result["verdict"] or "frame: the true coordinates fit the masks better than every control")
    return "\n".join(lines)


def _figures(name: str, values: dict[str, float], digits: int) -> str:
    return f"{name:<42} mean {values['mean']:.{digits}f}, median {values['median']:.{digits}f}"
