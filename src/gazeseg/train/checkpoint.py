"""Checkpoints that survive a kill at any moment.

A checkpoint is written into a temporary folder, flushed to the disk and renamed, so that a folder ``step-001000`` is
always whole; only then the text files ``last`` and ``best`` are replaced, and only then older folders are removed.
Weights are safetensors; the rest is loadable with ``weights_only=True``, so that no file of a run can execute code.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from gazeseg.errors import DataError
from gazeseg.train.runfolder import RunFolder, flush_folder, replace_file, write_flushed

WEIGHTS = "model.safetensors"
STATE = "state.pt"
TEMPORARY = ".writing-"
SHARED = "shared"  # metadata key: JSON object, name of a tied tensor -> name under which its values are stored


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint: the steps done, the method's ``state_dict``, and the rest that a resumed run needs."""

    path: Path
    step: int
    weights: dict[str, Tensor]
    state: dict[str, Any]


def save(
    folder: RunFolder, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, best_step: int | None
) -> Path:
    """Write a checkpoint, point ``last`` and ``best`` at it, remove the ones that nothing points at.

    Args:
        folder: The run.
        step: Iterations done.
        tensors: The method's ``state_dict``; tied tensors are stored once.
        state: Tensors, numbers, text and containers of them only.
        best_step: The step of the checkpoint that validated best so far, None without validation.

    Returns:
        The folder of the checkpoint.

    Raises:
        DataError: if the disk is full or read-only; the checkpoints so far stay as they are.
    """
    target = _path(folder, step)
    temporary = folder.checkpoints / f"{TEMPORARY}{target.name}"
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    try:
        folder.checkpoints.mkdir(exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)  # left by a kill
        temporary.mkdir()
        write_flushed(temporary / WEIGHTS, _serialise(tensors))
        write_flushed(temporary / STATE, buffer.getvalue())
        flush_folder(temporary)
        if target.exists():  # left by a kill between the rename and the pointer: nothing points at it
            shutil.rmtree(target)
        temporary.rename(target)
        flush_folder(folder.checkpoints)
        settle(folder, last_step=step, best_step=best_step)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise DataError(
            f"{target}: cannot write the checkpoint ({error.strerror}); make room or rights, then go on with --resume"
        ) from None
    return target


def settle(folder: RunFolder, *, last_step: int, best_step: int | None) -> None:
    """Make the pointers say so, then remove every other checkpoint; also what a kill between the two left to do."""
    pointers = {"last": last_step} if best_step is None else {"last": last_step, "best": best_step}
    for name, step in pointers.items():
        pointer = folder.checkpoints / name
        content = (_path(folder, step).name + "\n").encode()
        if not pointer.is_file() or pointer.read_bytes() != content:
            replace_file(pointer, content)
    keep = {_path(folder, step) for step in pointers.values()}
    for entry in folder.checkpoints.iterdir():
        if entry.is_dir() and entry not in keep and entry.name.startswith(("step-", TEMPORARY)):
            shutil.rmtree(entry)


def find(folder: RunFolder, which: str = "last") -> Path | None:
    """Return the checkpoint folder that ``last`` or ``best`` names, None where the run has no such pointer yet.

    Raises:
        DataError: if the pointer names a folder that is not there.
    """
    pointer = folder.checkpoints / which
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{pointer}: unreadable checkpoint pointer ({error}); {_fix(folder)}") from None
    path = folder.checkpoints / name
    if not name.startswith("step-") or not path.is_dir():
        raise DataError(f"{pointer}: names the checkpoint '{name}', which is not there; {_fix(folder)}")
    return path


def load_weights(folder: RunFolder, which: str = "last", *, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read the method's ``state_dict`` from the checkpoint that ``last`` or ``best`` names.

    Raises:
        DataError: if there is no such checkpoint or its file is corrupt.
    """
    return _read_weights(_require(folder, which) / WEIGHTS, device)


def load_exported(file: Path, *, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read a ``state_dict`` that stands alone, outside a run.

    Raises:
        DataError: if the file is corrupt.
    """
    try:
        return _read_weights(file, device)
    except DataError:
        raise DataError(f"{file}: corrupt weights; export or download the folder again") from None


def weights_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a ``state_dict`` as safetensors, as :func:`load_exported` reads it."""
    return _serialise(tensors)


def load(folder: RunFolder, which: str = "last", *, device: torch.device | str = "cpu") -> Checkpoint:
    """Read the whole checkpoint that ``last`` or ``best`` names.

    Raises:
        DataError: if there is no such checkpoint or one of its files is corrupt.
    """
    path = _require(folder, which)
    weights = _read_weights(path / WEIGHTS, device)
    try:
        state = torch.load(path / STATE, map_location=device, weights_only=True)
        step = int(state["step"])
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise _corrupt(path / STATE, error) from None
    return Checkpoint(path, step, weights, state)


def _path(folder: RunFolder, step: int) -> Path:
    return folder.checkpoints / f"step-{step:06d}"


def _require(folder: RunFolder, which: str) -> Path:
    path = find(folder, which)
    if path is None:
        hint = "; take the last one" if which == "best" and find(folder, "last") else "; train the run to its end"
        raise DataError(f"{folder.path}: no checkpoint '{which}'{hint}")
    return path


def _fix(folder: RunFolder) -> str:
    return f"delete {folder.checkpoints} and train again with --resume (it starts over), or restore the file"


def _corrupt(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"{file}: corrupt checkpoint ({reason}); {_fix(RunFolder(file.parents[2]))}")


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    """Return safetensors bytes; a tensor that is another one under a second name is stored once."""
    stored: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() and identity in seen:
            shared[name] = seen[identity]
            continue
        seen[identity] = name
        stored[name] = tensor.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
    return safetensors.torch.save(stored, metadata={SHARED: json.dumps(shared)})


def _read_weights(file: Path, device: torch.device | str) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(file, framework="pt", device=str(device)) as reader:
            weights = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118 -- no mapping
            shared = json.loads((reader.metadata() or {}).get(SHARED, "{}"))
        return weights | {name: weights[source] for name, source in shared.items()}
    except (OSError, safetensors.SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise _corrupt(file, error) from None
