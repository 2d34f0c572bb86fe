"""From a configuration to a plan: everything that a run decides before it starts, checked against the data set."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gazeseg.config import GazeConfig, PartialConfig, PseudoConfig, RunConfig, build, merge
from gazeseg.console import warn
from gazeseg.data.cache import SOFT
from gazeseg.data.controls import behind_maps, controlled
from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.labelled import labelled_patients
from gazeseg.data.pseudo import DEFAULT_THRESHOLDS, PseudoFolder, masks_command, pseudo_path
from gazeseg.data.text import CaseTexts, load_text
from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.control import changes_maps
from gazeseg.methods import create, find
from gazeseg.methods.base import Method
from gazeseg.train.start import find_start
from gazeseg.train.trainer import resolve_device
from gazeseg.train.validation import held_out_split

MAPS = frozenset({"pseudo", "weak", "gaze_map"})  # needs that are made from the pseudo-mask folder
TRACK = frozenset({"track", "track_length"})
GAZE = MAPS | TRACK
TEXT = frozenset({"text", "text_length", "text_fields"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A run in which nothing is left open."""

    config: RunConfig
    dataset: Dataset
    method: Method
    cases: tuple[Case, ...]  # to learn from
    left_out: tuple[Case, ...]  # of the training split, but nothing to learn from
    validation: tuple[Case, ...]  # held out of ``cases``; empty with select: last and no hold_out_seed
    device: torch.device
    text: CaseTexts | None  # of ``cases``; None where the method learns from none
    labelled: tuple[str, ...] | None  # patients whose masks the method may see; None where it looks at no mask

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Thresholds of the pseudo-mask levels."""
        return self.config.pseudo.thresholds or DEFAULT_THRESHOLDS

    @property
    def shown(self) -> tuple[Case, ...]:
        """``cases`` as the method sees them: without the masks that it may not see, so that their files stay unread."""
        seen = self.labelled or ()
        return tuple(case if case.patient_id in seen else dataclasses.replace(case, mask=None) for case in self.cases)

    @property
    def pseudo(self) -> Path | None:
        """The pseudo-mask folder, None where the method does not learn from it."""
        return pseudo_path(self.config, self.dataset) if self.method.needs & MAPS else None

    @property
    def cache(self) -> Path:
        """Where decoded images are kept."""
        return self.config.data.cache or self.dataset.root / ".cache"


def make_plan(config: RunConfig) -> Plan:
    """Fill in what the configuration leaves open and check it against the data set; writes nothing.

    Raises:
        ConfigError: for a value or name that does not fit.
        DataError: if the data set lacks what the method learns from, or the masks to validate with.
    """
    if config.train.schedule != "constant" and config.train.lr_min > config.train.lr:
        raise ConfigError(
            f"train.lr_min {config.train.lr_min:g} is above train.lr {config.train.lr:g}; lower train.lr_min"
        )
    if config.data.path is None:
        raise ConfigError("no data set given; name its folder with --data DS")
    device = resolve_device(config.train.device)
    dataset = Dataset.load(_absolute(config.data.path))
    name = config.method.get("name")
    needs = find(name).needs if isinstance(name, str) else frozenset()  # create() complains about no name
    config = own_source(_two_streams(config, needs))
    train_cases, validation = _splits(dataset, config)
    _check_control(config.gaze, needs, str(name))
    labelled = _labelled(dataset, train_cases, config) if "mask" in needs else None
    cases, left_out = _teachers(dataset, train_cases, needs, str(name), config.gaze, labelled or ())
    config = _resolve_targets(config, dataset, needs)
    method = create(
        config.method,
        network=config.network,
        in_channels=dataset.info.channels,
        num_classes=dataset.num_classes,
        levels=len(config.pseudo.thresholds or ()),
        seed=config.train.seed,
    )
    text = _texts(config, dataset, cases, method)
    start = config.train.init_from and find_start(_absolute(config.train.init_from), method, config)
    given = {key: getattr(config.data, key) for key in ("path", "pseudo", "cache")}
    paths = {key: _absolute(path) for key, path in given.items() if path is not None}
    config = config.model_copy(
        update={
            "method": {"name": name, **method.config.model_dump(mode="json")},
            "data": config.data.model_copy(update=paths),
            "train": config.train.model_copy(update={"init_from": start}),
            "text": config.text.model_copy(update={"path": config.text.path and _absolute(config.text.path)}),
        }
    )
    return Plan(config, dataset, method, cases, left_out, validation, device, text, labelled)


def own_source(config: RunConfig) -> RunConfig:
    """Set ``pseudo.source`` for a method that learns from one soft map alone.

    Raises:
        ConfigError: if another is asked for.
    """
    name = config.method.get("name")
    own = find(name).source if isinstance(name, str) else None
    if own is None:
        return config
    if "source" in config.pseudo.model_fields_set and config.pseudo.source != own:
        raise ConfigError(
            f"method '{name}' learns from pseudo.source {own}, got {config.pseudo.source}; leave it out or choose "
            "another method"
        )
    return config.model_copy(update={"pseudo": config.pseudo.model_copy(update={"source": own})})


def _splits(dataset: Dataset, config: RunConfig) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Return the cases to train on, and those that are held out."""
    if not dataset.split("train"):
        raise DataError(f"{dataset.root}: no case is in the split 'train'; correct the column split of cases.csv")
    cases, validation = held_out_split(dataset, config.train)
    blind = [case.case_id for case in validation if case.mask is None]
    if blind and config.train.select == "validation":
        raise DataError(
            f"{dataset.root}: train.select validation needs masks, but {len(blind)} of {len(validation)} validation "
            f"cases have none (first: '{blind[0]}'); import with --masks DIR or use --train.select last"
        )
    return cases, validation


def _two_streams(config: RunConfig, needs: frozenset[str]) -> RunConfig:
    """Make half of each batch labelled, where a method compares labelled with unlabelled cases and nothing is said."""
    if "labelled" not in needs or config.data.labelled_per_batch is not None:
        return config
    half = {"labelled_per_batch": max(1, config.train.batch_size // 2)}
    return config.model_copy(update={"data": config.data.model_copy(update=half)})


def _labelled(dataset: Dataset, cases: Sequence[Case], config: RunConfig) -> tuple[str, ...]:
    """Return the patients whose masks may be seen, those of them that have a mask, sorted."""
    masked = {case.patient_id for case in cases if case.mask is not None}
    if not masked:
        raise DataError(
            f"{dataset.root}: method '{config.method.get('name')}' learns from masks and no training case has one; "
            "import with --masks DIR"
        )
    chosen = labelled_patients(cases, config.data.labelled, dataset.info.labelled_order)
    bare = sorted(chosen - masked)
    if bare and (len(bare) == len(chosen) or isinstance(config.data.labelled, tuple)):
        raise DataError(
            f"{dataset.root}: labelled patient '{bare[0]}' has no case with a mask; import with masks, or label "
            "another patient with --data.labelled"
        )
    volumes = {case.volume_id for case in cases if case.volume_id and case.patient_id in chosen}
    empty = sorted(volumes - {case.volume_id for case in cases if case.mask is not None})
    if empty:
        warn(f"{len(empty)} volumes of labelled patients have no labelled slice, e.g. '{empty[0]}'")
    return tuple(sorted(chosen & masked))


def _check_control(gaze: GazeConfig, needs: frozenset[str], method: str) -> None:
    """Refuse a control that changes nothing of what the method looks at: its run would be a plain one in disguise."""
    if gaze.control == "none" or (needs & TRACK) or (needs & MAPS and changes_maps(gaze)):
        return
    if not needs & GAZE:
        raise ConfigError(f"gaze.control is {gaze.control}, but method '{method}' looks at no gaze; leave it out")
    reason = "gaze.scope is track" if gaze.scope == "track" else "gaze.control shuffled_order changes the order alone"
    raise ConfigError(f"{reason}, and method '{method}' does not look at the track; choose another control or scope")


def _teachers(
    dataset: Dataset,
    cases: Sequence[Case],
    needs: frozenset[str],
    method: str,
    gaze: GazeConfig,
    labelled: Sequence[str],
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Part the training cases into those that the method can learn from and those without the gaze or mask it needs."""
    seen = [behind_maps(dataset, gaze).fixations] if needs & MAPS else []
    seen += [controlled(dataset, gaze).fixations] if needs & TRACK else []

    def has_gaze(case: Case) -> bool:
        return any(bool(fixations[case.case_id].on_image.any()) for fixations in seen)

    def teaches(case: Case) -> bool:
        gazed = has_gaze(case)
        masked = "mask" in needs and case.mask is not None and case.patient_id in labelled
        return gazed or masked or not needs & (GAZE | {"mask"}) or "labelled" in needs  # semi-supervised: all teach

    if needs & GAZE and not any(has_gaze(case) for case in cases):
        raise DataError(
            f"{dataset.root}: method '{method}' learns from gaze and no training image has a fixation on it; "
            "import with --gaze CSV"
        )
    kept = tuple(case for case in cases if teaches(case))
    left_out = tuple(case for case in cases if not teaches(case))
    if left_out:
        lacking = "gaze on them" if needs & GAZE else "mask to learn from"
        some = ", ".join(case.case_id for case in left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        warn(f"{len(left_out)} of {len(cases)} training images have no {lacking} and contribute nothing: {some}")
    return kept, left_out


def _resolve_targets(config: RunConfig, dataset: Dataset, needs: frozenset[str]) -> RunConfig:
    """Fill in the sections ``pseudo`` and ``partial``: what the user gave, over what the pseudo-masks were made with.

    Without a need for pseudo-masks, over what the data set recommends.
    """
    base: Mapping[str, Any] = dataset.info.masks_config().model_dump(exclude_unset=True)
    sources: Sequence[str] = SOFT
    if needs & MAPS:
        path = pseudo_path(config, dataset)
        if not path.is_dir():
            where = "" if config.data.pseudo is None else f" --out {path}"
            raise DataError(f"{path} not found; run: {masks_command(config, dataset)}{where}")
        folder = PseudoFolder.load(path)
        folder.require(config, dataset)
        base, sources = folder.config.model_dump(), folder.sources
    given = config.model_dump(exclude_unset=True)
    own = {key: value for key, value in given.get("pseudo", {}).items() if value is not None}
    values = merge(merge({"thresholds": DEFAULT_THRESHOLDS}, base.get("pseudo", {})), own)
    if values.get("source", "crf") not in sources:
        if "source" in own:
            how = "with crf.mode off; use heatmap" if own["source"] == "crf" else "without --refine prompt"
            raise ConfigError(f"pseudo.source is {own['source']}, but the pseudo-masks were made {how}")
        values["source"] = "heatmap"
    partial = merge(base.get("partial", {}), given.get("partial", {}))
    return config.model_copy(
        update={"pseudo": build(PseudoConfig, values, "pseudo"), "partial": build(PartialConfig, partial, "partial")}
    )


def _texts(config: RunConfig, dataset: Dataset, cases: Sequence[Case], method: Method) -> CaseTexts | None:
    """Return the text of the training cases, None where the method learns from none."""
    if not method.needs & TEXT:
        if config.text.control != "none":
            raise ConfigError(
                f"text.control is {config.text.control}, but method '{method.name}' does not learn from text as it is "
                "configured; leave text.control out"
            )
        return None
    folder = _absolute(config.text.path) if config.text.path else dataset.root / "text"
    store = load_text(folder, dataset.root, (case.case_id for case in dataset.cases))
    if method.text_dim not in (None, store.dim):
        raise ConfigError(
            f"{folder}: embeddings of {store.dim} numbers a token, but method '{method.name}' was built for "
            f"{method.text_dim}; set --method.text.dim {store.dim}"
        )
    texts = CaseTexts.make(store, [case.case_id for case in cases], config.text)
    lacking = int((texts.places[:, 1] == 0).sum())
    if lacking == len(cases):
        raise DataError(f"{folder}: none of the {len(cases)} training images has text; describe and encode them")
    if lacking:
        warn(f"{lacking} of {len(cases)} training images have no text; they are learnt from without")
    return texts


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))
