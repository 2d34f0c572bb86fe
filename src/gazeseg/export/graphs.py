"""Graphs that run without our code, ONNX and PyTorch's exported program: checked against PyTorch before being kept."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from gazeseg.data.images import write_bytes
from gazeseg.errors import MissingDependencyError
from gazeseg.export.describe import describe_task
from gazeseg.export.network import INPUT, OUTPUT, Answer, Parity, check_parity, example, exported_program
from gazeseg.predict.predictor import Predictor


def export_onnx(predictor: Predictor, path: Path) -> Parity:
    """Write one ``.onnx`` file with weights inside and what the network needs to know in its metadata.

    Input ``image`` float32 (batch, C, rows, columns) in 0..255, output ``probabilities``; batch and size are dynamic.

    Args:
        predictor: The run, on the CPU.
        path: The file.

    Raises:
        DataError: if ONNX Runtime answers otherwise than PyTorch, the method cannot be traced, or the file cannot be
            written; nothing is written then.
        MissingDependencyError: without onnx, onnxscript or onnxruntime.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx asks for it late and less clearly
    except ImportError as error:
        raise MissingDependencyError(error.name or "onnx", "export") from None
    program = exported_program(predictor)
    axes = {"0": "batch", "2": "rows", "3": "columns"}
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")  # remarks on the converter's own future
        made = torch.onnx.export(
            program, (example(predictor),), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
        )
    if made is None:
        raise AssertionError("torch.onnx.export returned no program")  # it does so for a given file only
    model = made.model_proto
    onnx.helper.set_model_props(model, {"gazeseg": json.dumps({**describe_task(predictor), "axes": axes})})
    content = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parity = check_parity(predictor, lambda image: np.asarray(session.run([OUTPUT], {INPUT: image})[0]))
    write_bytes(path, content)
    return parity


def export_pt2(predictor: Predictor, path: Path) -> Parity:
    """Write one ``.pt2`` file: ``torch.export.load(path).module()(image)``, with batch and size dynamic.

    Args:
        predictor: The run, on the CPU.
        path: The file.

    Raises:
        DataError: as :func:`export_onnx`.
    """
    content = pt2_bytes(predictor)
    parity = check_parity(predictor, answer_of(content))
    write_bytes(path, content)
    return parity


def pt2_bytes(predictor: Predictor) -> bytes:
    """Return the content of a ``.pt2`` file."""
    buffer = io.BytesIO()
    torch.export.save(
        exported_program(predictor), buffer, extra_files={"gazeseg.json": json.dumps(describe_task(predictor))}
    )
    return buffer.getvalue()


def answer_of(content: bytes) -> Answer:
    """Return a ``.pt2`` file's content as a function of arrays."""
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda image: module(torch.from_numpy(image)).numpy()


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Raise the threshold of some loggers for a while."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
