"""What ``gazeseg check`` finds: counts, disjoint splits, gaze quality, and controls of the coordinate frame."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt

from gazeseg.data.dataset import Dataset
from gazeseg.data.labelled import labelled_patients
from gazeseg.data.schema import SIMULATED
from gazeseg.data.split import check_splits, shared_images
from gazeseg.gaze.frame import guess_display, guess_frame
from gazeseg.gaze.quality import control_shares, frame_verdict, gaze_quality, summarise
from gazeseg.types import IGNORE, Fixations, Split

SUBSETS: Final = (5, 10, 20, 30, 40, 50, 100)  # % of the patients


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
        "volumes": len({case.volume_id for case in dataset.cases if case.volume_id}),
        "with_spacing": sum(case.spacing_mm is not None for case in dataset.cases),
        "labelled_subsets": _labelled_subsets(dataset),
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
        result["verdict"] = _verdict(controls, {name: dataset.fixations[name] for name in seen}, seen)
    elif (display := guess_display({case.case_id: dataset.fixations[case.case_id] for case in with_gaze})) is not None:
        result["verdict"] = display
    return result


def _verdict(
    controls: dict[str, dict[str, float]], fixations: dict[str, Fixations], masks: dict[str, npt.NDArray[np.bool_]]
) -> str | None:
    """The likeliest mistake: a frame that fits better than the best of the controls, or else what the controls tell."""
    guess = guess_frame(fixations, masks)
    flips = max(controls[name]["mean"] for name in controls if name not in ("true", "weighted", "shuffled"))
    return guess.text if guess is not None and guess.share > flips else frame_verdict(controls)


def _labelled_subsets(dataset: Dataset) -> list[dict[str, int]]:
    """Return patients and cases of the published labelled subsets, empty where the data set has no order of its own."""
    order, cases = dataset.info.labelled_order, dataset.split("train")
    if not order:
        return []
    subsets = []
    for percent in SUBSETS:
        chosen = labelled_patients(cases, percent / 100, order)
        count = sum(case.patient_id in chosen for case in cases)
        subsets.append({"percent": percent, "patients": len(chosen), "cases": count})
    return subsets


def describe(result: dict[str, Any]) -> str:
    """Tell the findings of :func:`check_dataset` to a person."""
    splits = ", ".join(f"{result['splits'][name]} {name}" for name in get_args(Split) if name in result["splits"])
    volumes = f" in {result['volumes']} volumes" if result["volumes"] else ""
    height, width = result["height_px"], result["width_px"]
    lines = [
        f"{result['dataset']}: {result['cases']} cases{volumes} of {result['patients']} patients ({splits}), "
        f"{result['masks']} with mask, {result['cases_with_gaze']} with {result['gaze_kind']} gaze",
        f"split: {result['split_note']}" if result["split_note"] else "split: no case or patient stands in two splits",
        f"size: {height['min']}..{height['max']} x {width['min']}..{width['max']} px (H x W), "
        f"median {height['median']:g} x {width['median']:g}",
    ]
    if result["with_spacing"] < result["cases"]:
        lacking = "no case has" if not result["with_spacing"] else f"only {result['with_spacing']} cases have"
        lines.append(f"spacing: {lacking} a pixel spacing, so distances are in pixels, not in mm")
    if result["labelled_subsets"]:
        cuts = "; ".join(
            "{percent} % = {patients} patients, {cases} cases".format_map(s) for s in result["labelled_subsets"]
        )
        lines.append(f"labelled subsets, in the published order of patients: {cuts}")
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
