"""One case as the batch that training would make of it, not augmented and not under a control: for explanations.

Nothing is read from or written to a cache, and the pseudo-masks are drawn from the case's own gaze, so that it works
for cases that training never saw.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gazeseg.config import AugmentConfig, MasksConfig, RunConfig
from gazeseg.data.cache import Store, resize_image, resize_labels, resize_map
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.loader import TEXT, TrainLoader, store_fields
from gazeseg.data.pseudo import case_maps
from gazeseg.data.text import CaseTexts, TextStore
from gazeseg.errors import DataError
from gazeseg.supervision.levels import nested_levels
from gazeseg.types import IGNORE, Batch, Float32Array, UInt8Array

STILL = AugmentConfig(flip_horizontal=0.0, flip_vertical=0.0)


def single_batch(
    dataset: Dataset,
    case: Case,
    config: RunConfig,
    needs: Iterable[str] = (),
    *,
    maps: MasksConfig | None = None,
    prompted: Float32Array | None = None,
    text: TextStore | None = None,
) -> Batch:
    """Return a batch of one case.

    Args:
        dataset: Where image, mask and gaze come from.
        case: The case, of any split.
        config: The resolved configuration of a run: network size, normalisation, thresholds.
        needs: Fields of the batch beyond ids and image.
        maps: How heatmap and CRF are made; needed for ``pseudo``, ``weak`` and ``gaze_map``.
        prompted: (H, W) map of a promptable model, which nothing here loads; None: the CRF map stands in for it.
        text: Where the text comes from, for ``text``; a case that is not in it has none.

    Raises:
        ConfigError: if a need cannot be met.
        DataError: if a file of the case cannot be read, or ``maps`` is missing.
    """
    needs = frozenset(needs)
    fields = store_fields(needs, config.pseudo)
    size = config.data.size
    arrays: dict[str, UInt8Array] = {}
    if "mask" in fields:
        blind = np.full(size, IGNORE, np.uint8)
        arrays["mask"] = (blind if case.mask is None else resize_labels(dataset.mask(case), size))[None]
    if fields - {"mask"}:
        if maps is None:
            raise DataError(
                f"{dataset.root}: {', '.join(sorted(needs))} of case '{case.case_id}' need a recipe of maps"
            )
        heat, refined = case_maps(dataset, case, maps)
        crf = heat if refined is None else refined
        soft = {"heatmap": heat, "crf": crf, "prompt": crf if prompted is None else prompted}
        arrays |= {name: _bytes(resize_map(soft[name], size))[None] for name in fields & soft.keys()}
        if "levels" in fields:
            levels = nested_levels(soft[config.pseudo.source], config.pseudo.thresholds or ()).labels
            arrays["levels"] = resize_labels(levels, size)[None]
    store = Store(
        cases=(case,),
        size=size,
        num_classes=dataset.num_classes,
        image=resize_image(dataset.image(case), size)[None],
        mask=arrays.get("mask"),
        heatmap=arrays.get("heatmap"),
        crf=arrays.get("crf"),
        prompt=arrays.get("prompt"),
        levels=arrays.get("levels"),
        fixations=(dataset.fixations[case.case_id],),
    )
    loader = TrainLoader(
        store,
        data=config.data.model_copy(update={"augment": STILL}),
        pseudo=config.pseudo,
        partial=config.partial,
        needs=needs,
        batch_size=1,
        seed=0,
        resident=False,
        text=CaseTexts(text, text.lookup([case.case_id])) if text is not None and needs & TEXT else None,
    )
    return loader.batch(0)


def _bytes(values: Float32Array) -> UInt8Array:
    levels: UInt8Array = np.rint(values * np.float32(255)).astype(np.uint8)
    return levels
