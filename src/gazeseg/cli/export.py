"""``gazeseg export``: a run for other runtimes and people, or a data set for nnU-Net."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gazeseg.errors import ConfigError


def export(
    source: Path,
    /,
    *,
    to: Literal["onnx", "pt2", "hub", "monai-bundle", "nnunet"],
    out: Path | None = None,
    checkpoint: Literal["last", "best"] | None = None,
    licence: str = "",
    pseudo_labels: bool = False,
    pseudo: Path | None = None,
    id: int = 501,
) -> None:
    """Hand on a run as `onnx`, `pt2`, `hub` or `monai-bundle`, or a data set as `nnunet`.

    Example: `gazeseg export runs/gms --to onnx --out gms.onnx`

    Example: `gazeseg export DS --to nnunet --pseudo-labels --out nnUNet_raw`

    What is made of a run is checked against PyTorch, for several batches and sizes, before it is kept.

    Args:
        source: A run folder; with `--to nnunet` a data set folder.
        to: What to make.
        out: Where; by default `RUN/export/...`, or `DS/nnUNet_raw`.
        checkpoint: `last` or `best`; by default what the run's `train.select` says.
        licence: For the model card, e.g. `cc-by-4.0`.
        pseudo_labels: Train nnU-Net from gaze: the classes on which the pseudo-mask levels agree, ignore between them.
        pseudo: Folder of the pseudo-masks; `DS/pseudo` by default.
        id: Number of nnU-Net's data set.
    """
    if to == "nnunet":
        from gazeseg.data.dataset import Dataset
        from gazeseg.export.nnunet import export_nnunet

        dataset = Dataset.load(source)
        labels = (pseudo or source / "pseudo") if pseudo_labels or pseudo is not None else None
        print(export_nnunet(dataset, out or source / "nnUNet_raw", number=id, pseudo=labels))
        return
    if pseudo_labels or pseudo is not None:
        raise ConfigError(f"--pseudo-labels is about data sets; with --to {to} leave it out")
    from gazeseg.export import folders, graphs
    from gazeseg.predict.predictor import Predictor

    predictor = Predictor.load(source, checkpoint=checkpoint)
    if to in ("onnx", "pt2"):
        target = out or source / "export" / f"model.{to}"
        write = graphs.export_onnx if to == "onnx" else graphs.export_pt2
        parity = write(predictor, target)
    else:
        target = out or source / "export" / to
        write_folder = folders.export_hub if to == "hub" else folders.export_monai_bundle
        parity = write_folder(predictor, source, target, licence=licence)
    shapes = ", ".join("x".join(str(n) for n in shape) for shape in parity.shapes)
    print(f"{target}\nlargest difference from PyTorch {parity.largest:.1e} (batches {shapes})")
