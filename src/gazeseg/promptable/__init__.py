"""Models that segment what a prompt points at: the only torch part of label making.

Each fulfils :class:`gazeseg.supervision.prompts.Promptable`. Neither training nor prediction ever loads one. A
promptable model may have seen public images, and their masks, in its own training: every figure of its labels says so.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gazeseg.errors import ConfigError, suggest
from gazeseg.promptable.lite_medsam import LiteMedSam
from gazeseg.promptable.sam import SamFolder
from gazeseg.supervision.prompts import Promptable

LITE_MEDSAM = "lite_medsam"


def load_promptable(model: str, *, device: str = "auto") -> Promptable:
    """Load a promptable model.

    Args:
        model: ``lite_medsam``, or a folder with a SAM, MedSAM or SAM 2 checkpoint that ``transformers`` reads.
        device: ``auto`` takes a GPU if there is one.

    Raises:
        ConfigError: if there is no such model or folder, or the folder holds another architecture.
        MissingDependencyError: if the package that it needs is not installed.
        DataError: if its weights are not what they should be.
    """
    wanted = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if model == LITE_MEDSAM:
        return LiteMedSam.load(wanted)
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"prompt.model '{model}': no such folder{suggest(model, [LITE_MEDSAM])}; give {LITE_MEDSAM}, or the folder "
            "of a SAM checkpoint"
        )
    return SamFolder.load(folder, wanted)
