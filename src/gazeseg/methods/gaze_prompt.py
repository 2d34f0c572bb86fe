"""The partial baseline on masks that a promptable model drew where gaze pointed.

Ours, and what is ours lies in the masks: ``gazeseg masks --refine prompt``. Soft targets, weights by case quality, a
mean teacher and more were tried with the student and did not help; docs/prompt.md has the table.
"""

from __future__ import annotations

from gazeseg.errors import ConfigError
from gazeseg.methods.base import Reference, Spec
from gazeseg.methods.gaze_partial import GazePartial, GazePartialConfig


class GazePrompt(GazePartial):
    """Partial cross-entropy + Dice on the sure pixels of the prompted mask.

    ``partial.tau_f`` and ``partial.tau_b`` draw the ternary target from its probability. Training alone sees gaze;
    ``predict`` takes images.
    """

    name = "gaze_prompt"
    summary = "learn from the sure pixels of gaze-prompted masks: partial cross-entropy + Dice"
    source = "prompt"
    reference = Reference(
        title="Gaze-prompted masks",
        venue="gazeseg",
        url="https://arxiv.org/abs/2304.12306",  # MedSAM, which draws the masks
        status="ours",
    )

    def __init__(self, config: GazePartialConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        if spec.num_classes != 2:
            raise ConfigError(
                f"gaze_prompt: gaze says where, not which of {spec.num_classes - 1} classes; use two classes"
            )
