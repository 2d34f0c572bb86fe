"""One training run, from a configuration to a run folder.

Whatever can be wrong with configuration and data is found before the folder is made. Only the training and the
validation split are ever touched here.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import gazeseg
from gazeseg.config import RunConfig, build, read_yaml, write_yaml
from gazeseg.console import say
from gazeseg.data.cache import open_store
from gazeseg.data.dataset import Case
from gazeseg.data.loader import TrainLoader, store_fields
from gazeseg.data.pseudo import PseudoFolder
from gazeseg.data.schema import SIMULATED
from gazeseg.data.simulated import gaze_leak
from gazeseg.data.split import split_checksum
from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.control import control_label
from gazeseg.train import checkpoint
from gazeseg.train.annotation import measure
from gazeseg.train.plan import GAZE, Plan, make_plan
from gazeseg.train.runfolder import RunFolder, Task, replace_file
from gazeseg.train.start import start_from
from gazeseg.train.trackers import Tracker, open_trackers, require_trackers
from gazeseg.train.trainer import fit, resolve_device
from gazeseg.train.validation import mean_dice
from gazeseg.train.world import World, first_alone, make_fabric

MAY_CHANGE = frozenset(
    {
        "data.path",  # a data set may move; the checksum of its training cases must stay
        "data.pseudo",
        "data.cache",
        "text.path",
        "train.init_from",  # it was read when the run began
        "train.device",
        "train.threads",
        "train.resident",
        "train.checkpoint_every",
        "train.log_every",
        "train.log",
    }
)
"""Keys that a resumed run may change: they say where and how fast, not what is learnt. Those of ``evaluate`` too."""


def train(config: RunConfig, out: Path, *, resume: bool = False) -> RunFolder:
    """Train one run.

    Args:
        config: The configuration; what it leaves open (thresholds, keys of the method) is filled in and written to
            ``config.yaml``, with absolute paths, so that the file repeats the run from any folder.
        out: The run folder to make; its parents too.
        resume: Go on from the last checkpoint in ``out``; from 0 where there is none yet.

    Returns:
        The run folder.

    Raises:
        ConfigError: if ``out`` holds something and ``resume`` is off, if a resumed run's configuration differs, or for
            a value or name that does not fit.
        DataError: if the data set lacks what the method learns from, or a file cannot be read or written.
        GazeSegError: if the training diverges.
    """
    folder = RunFolder(Path(out))
    world = World.from_environment()
    fabric = make_fabric(config.train, resolve_device(config.train.device), world)
    begun = _look(folder, resume)
    if begun:
        _check_keys(folder, config, "gaze.")  # before the plan asks for the pseudo-masks of another control
    plan = make_plan(config)
    require_trackers(plan.config.train.log)
    if begun:
        _check_same(folder, plan)
        if _finished(folder, plan.config):
            say(f"{folder.path}: already finished ({plan.config.train.iterations} iterations), nothing to do")
            return folder
    loader, validate = first_alone(fabric, lambda: _open(plan))  # also: all have looked before the folder is made
    parameters = sum(parameter.numel() for parameter in plan.method.parameters() if parameter.requires_grad)
    about = [f"{len(plan.cases)} cases"]
    if plan.labelled is not None and config.data.labelled != 1:
        about.append(f"{loader.masks_seen} of them labelled ({len(plan.labelled)} patients)")
    if plan.method.needs & GAZE and plan.dataset.info.gaze.kind == "simulated":
        about.append(SIMULATED)
        if leak := _leak(plan):
            about.append(leak)
    if label := control_label(plan.config.gaze):
        about.append(f"gaze {label}")
    say(f"training {plan.method.name} on {plan.dataset.info.name}: {', '.join(about)}, {parameters:,} parameters")
    with _started(folder, keep=begun) if world.writes else contextlib.nullcontext():
        trackers: tuple[Tracker, ...] = ()
        if world.writes:
            _describe(folder, plan, parameters, masks=loader.masks_seen)
            done = checkpoint.find(folder, "last") if begun else None
            start = int(done.name.removeprefix("step-")) if done else 0
            trackers = open_trackers(plan.config.train.log, folder, _flat(plan.config.model_dump(mode="json")), start)
        fit(
            plan.method,
            loader,
            config=plan.config.train,
            folder=folder,
            validate=validate,
            resume=resume,
            momentum=start_from(plan.method, plan.config.train.init_from) if not begun else None,
            fabric=fabric,
            trackers=trackers,
        )
    return folder


def _look(folder: RunFolder, resume: bool) -> bool:
    """Return whether ``folder`` holds a run to resume."""
    path = folder.path
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is a file; name a folder with --out")
    entries = [entry for entry in path.iterdir() if not entry.name.endswith(".writing")] if path.exists() else []
    if not entries:
        return False
    if not resume:
        hint = "go on with --resume, or " if folder.config_file.exists() else ""
        raise ConfigError(f"{path}: not empty; {hint}name another folder with --out")
    if not folder.config_file.exists():
        raise ConfigError(f"{path}: no run to resume (config.yaml is missing); name the run's folder with --out")
    return True


def _open(plan: Plan) -> tuple[TrainLoader, Callable[[], float] | None]:
    """Decode what the run reads: the training cases with the fields that the method needs, the validation cases."""
    config, needs = plan.config, plan.method.needs
    store = open_store(
        plan.dataset,
        plan.shown,
        size=config.data.size,
        fields=store_fields(needs, config.pseudo),
        pseudo=plan.pseudo,
        thresholds=plan.thresholds,
        source=config.pseudo.source,
        gaze=config.gaze,
        cache_dir=plan.cache,
    )
    loader = TrainLoader(
        store,
        data=config.data if plan.labelled is None else config.data.model_copy(update={"labelled": plan.labelled}),
        pseudo=config.pseudo,
        partial=config.partial,
        needs=needs,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        device=plan.device,
        resident=config.train.resident,
        text=plan.text,
    )
    if config.train.select == "last":
        return loader, None
    held_out = open_store(plan.dataset, plan.validation, size=config.data.size, fields={"mask"}, cache_dir=plan.cache)
    return loader, functools.partial(mean_dice, plan.method, held_out, config, plan.device)


def _check_same(folder: RunFolder, plan: Plan) -> None:
    """Refuse to resume a run with another configuration or other training cases."""
    _check_keys(folder, plan.config)
    if folder.task_file.exists():  # else it was killed before it could say
        stored = folder.environment().get("train", {}).get("checksum")
        if stored != _split_entry(plan.cases)["checksum"]:
            raise DataError(
                f"{folder.path}: {plan.dataset.root} has other training cases than when the run began; restore them, "
                "or train into another folder"
            )
        if folder.environment().get("text") != (plan.text.store.summary() if plan.text else None):
            raise DataError(
                f"{folder.path}: the text embeddings are others than when the run began; restore them, or train into "
                "another folder"
            )


def _check_keys(folder: RunFolder, config: RunConfig, prefix: str = "") -> None:
    """Refuse to resume a run with another value of a key that begins with ``prefix``."""
    before, now = _flat(_stored(folder).model_dump(mode="json")), _flat(config.model_dump(mode="json"))
    for key in sorted(before.keys() | now.keys()):
        fixed = key.startswith(prefix) and key not in MAY_CHANGE and not key.startswith("evaluate.")
        if fixed and before.get(key) != now.get(key):
            raise ConfigError(
                f"{folder.path}: {key} was {before.get(key)} when the run began and is {now.get(key)} now; resume with "
                "the run's own value, or train into another folder"
            )


def _stored(folder: RunFolder) -> RunConfig:
    """Read the configuration of a run that may have been killed before its task.json was written."""
    return build(RunConfig, read_yaml(folder.config_file), str(folder.config_file))


def _finished(folder: RunFolder, config: RunConfig) -> bool:
    last = checkpoint.find(folder, "last")
    return last is not None and checkpoint.load(folder, "last").step >= config.train.iterations


@contextlib.contextmanager
def _started(folder: RunFolder, *, keep: bool) -> Iterator[None]:
    """Make the run folder; unless ``keep``, take it away again if an error comes before anything was learnt."""
    existed = folder.path.exists()
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        _discard(folder, existed, keep)
        raise DataError(
            f"{error.filename or folder.path}: cannot be written ({error.strerror or error}); free some space, or name "
            "another folder with --out"
        ) from error
    except BaseException:
        _discard(folder, existed, keep)
        raise


def _discard(folder: RunFolder, existed: bool, keep: bool) -> None:
    if keep or not folder.path.is_dir() or folder.checkpoints.exists() or folder.metrics():
        return
    for entry in folder.path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)  # of a tracker
        else:
            entry.unlink()
    if not existed:
        folder.path.rmdir()


def _describe(folder: RunFolder, plan: Plan, parameters: int, *, masks: int) -> None:
    """Write ``config.yaml``, ``environment.json`` and ``task.json``."""
    needs, info = plan.method.needs, plan.dataset.info
    temporary = folder.config_file.with_name(".config.yaml.writing")
    write_yaml(temporary, plan.config)
    temporary.replace(folder.config_file)
    if folder.task_file.exists():
        return  # a resumed run: it was begun where environment.json says
    environment = {
        "gazeseg": gazeseg.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": plan.config.train.threads or torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if plan.device.type == "cuda" else platform.machine(),
        "packages": _packages(),
        "dataset": info.name,
        "gaze": info.gaze.kind,
        "gaze_control": control_label(plan.config.gaze) or None,
        "train": _split_entry(plan.cases),
        "left_out": [case.case_id for case in plan.left_out],
        "labelled_patients": plan.labelled,
        "validation": _split_entry(plan.validation) if plan.validation else None,
        "text": plan.text.store.summary() if plan.text else None,
        "method": {"name": plan.method.name, "status": plan.method.reference.status},
    }
    replace_file(folder.environment_file, (json.dumps(environment, indent=2) + "\n").encode())
    folder.write_task(
        Task(
            dataset=info.name,
            classes=info.classes,
            in_channels=info.channels,
            levels=len(plan.thresholds),
            thresholds=plan.thresholds,
            gaze=info.gaze.kind if needs & GAZE else "none",
            gaze_control=control_label(plan.config.gaze),
            gaze_leak=_leak(plan),
            drawn_by=_drawn_by(plan),
            mask_supervised="mask" in needs,
            train_cases=len(plan.cases),
            parameters=parameters,
            text=plan.text.store.label(plan.config.text.control) if plan.text else "none",
            annotation=measure(plan.dataset, plan.cases, gaze=bool(needs & GAZE), masks=masks),
        )
    )


def _leak(plan: Plan) -> str:
    """Say what simulated gaze gives away; empty for any other gaze and for a method without maps of it."""
    if plan.pseudo is None or plan.dataset.info.gaze.kind != "simulated":
        return ""
    looked_at = {case.case_id for case in plan.cases if len(plan.dataset.fixations[case.case_id])}
    return gaze_leak(PseudoFolder.load(plan.pseudo), looked_at)


def _drawn_by(plan: Plan) -> str:
    """Say which promptable model drew what the run learns from; empty where none did."""
    if plan.pseudo is None or plan.config.pseudo.source != "prompt":
        return ""
    return PseudoFolder.load(plan.pseudo).drawn_by


def _split_entry(cases: Sequence[Case]) -> dict[str, Any]:
    return {"cases": len(cases), "checksum": split_checksum(case.case_id for case in cases)}


def _packages() -> dict[str, str]:
    """Versions of what gazeseg depends on, as far as it is installed."""
    found = {}
    for requirement in metadata.requires("gazeseg") or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return dict(sorted(found.items()))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested sections into dotted keys."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out.update(_flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return out
