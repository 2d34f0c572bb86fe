"""Which cases a batch holds: one endless stream of permutations, or one of labelled and one of unlabelled cases.

A pure function of (seed, step), so that a resumed run has no state to restore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from gazeseg.errors import ConfigError

ORDER: Final = 0  # stream of random numbers below one seed; see also gazeseg.data.loader.TRANSFORM
MIXED, LABELLED, UNLABELLED = 0, 1, 2

Rows = npt.NDArray[np.int64]


@dataclass(slots=True)
class CaseStream:
    """An endless row of permutations of some cases, from which every batch takes the next ``wanted``."""

    kind: int
    among: Rows
    wanted: int
    seed: int
    _orders: dict[int, Rows] = field(default_factory=dict)

    def cut(self, step: int) -> Rows:
        """Return the cases of batch ``step``, (wanted,)."""
        epochs, places = np.divmod(np.arange(step * self.wanted, (step + 1) * self.wanted), len(self.among))
        rows = np.empty(self.wanted, dtype=np.int64)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            rows[chosen] = self.among[self._order(epoch)[places[chosen]]]
        return rows

    def _order(self, epoch: int) -> Rows:
        if epoch not in self._orders:
            if len(self._orders) > 1:
                self._orders.clear()  # only a memory of what can be drawn again
            drawn = [self.seed, ORDER, epoch] + [self.kind] * (self.kind != MIXED)
            self._orders[epoch] = np.random.default_rng(drawn).permutation(len(self.among))
        return self._orders[epoch]


def case_streams(
    labelled: npt.NDArray[np.bool_], batch_size: int, labelled_per_batch: int | None, seed: int
) -> Sequence[CaseStream]:
    """Return the streams whose cuts, one after the other, make a batch.

    Args:
        labelled: (N,) which cases have a mask that may be seen.
        batch_size: Cases a batch.
        labelled_per_batch: How many of them are labelled; the rest are not. ``None``: one stream of all cases.
        seed: Decides the order.

    Raises:
        ConfigError: if a batch cannot hold so many, or one of the two streams has no case.
    """
    if labelled_per_batch is None:
        return [CaseStream(MIXED, np.arange(len(labelled)), batch_size, seed)]
    if labelled_per_batch > batch_size:
        raise ConfigError(
            f"data.labelled_per_batch {labelled_per_batch} is above train.batch_size {batch_size}; lower it"
        )
    streams = [
        CaseStream(LABELLED, np.flatnonzero(labelled), labelled_per_batch, seed),
        CaseStream(UNLABELLED, np.flatnonzero(~labelled), batch_size - labelled_per_batch, seed),
    ]
    for stream in streams:
        if stream.wanted and not len(stream.among):
            lacking = "no case is labelled" if stream.kind == LABELLED else "every training case is labelled"
            raise ConfigError(
                f"data.labelled_per_batch {labelled_per_batch}: {lacking}; set data.labelled, or leave it out"
            )
    return [stream for stream in streams if stream.wanted]
