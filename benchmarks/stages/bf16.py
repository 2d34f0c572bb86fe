"""A training step of FGI in bfloat16 mixed precision, against the same step in float32 (no published way)."""

from __future__ import annotations

import torch
from ledger import Row, time_pair

from gazeseg.config import NetworkConfig
from gazeseg.methods import create
from gazeseg.methods.contract import make_batch
from gazeseg.methods.fgi import FGI

BATCH, SIDE = 2, 64  # the published widths; at 224 px and batch 8 a step takes half a minute of one core
GOAL = 1.7


def rows() -> list[Row]:
    torch.set_num_threads(1)
    network = NetworkConfig(name="basic_unet")
    method = create({"name": FGI.name}, network=network, in_channels=3, num_classes=2, levels=2, seed=0)
    method.to(memory_format=torch.channels_last)
    batch = make_batch(FGI.needs, in_channels=3, num_classes=2, size=(SIDE, SIDE), batch_size=BATCH)
    last: dict[bool, float] = {}

    def step(half: bool) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = torch.stack(list(method.training_step(batch, 0).losses.values())).sum()
        loss.backward()
        method.zero_grad()
        last[half] = loss.item()

    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    repeats = 3 if supported else 1  # emulated, a step takes many times as long
    full_ms, half_ms = time_pair(lambda: step(half=False), lambda: step(half=True), repeats=repeats)
    difference = abs(last[True] - last[False]) / last[False]
    return [
        Row(
            stage=f"FGI step, bf16 for fp32, basic_unet {BATCH}x{SIDE}x{SIDE}",
            published_ms=full_ms,
            ours_ms=half_ms,
            error=f"loss differs by {difference:.1%}" + ("" if supported else "; this CPU has no bf16: not judged"),
            goal=f">= {GOAL:g}x on a CPU with bf16",
            met=full_ms / half_ms >= GOAL or not supported,
        )
    ]
