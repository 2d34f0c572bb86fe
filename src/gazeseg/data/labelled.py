"""Whose masks a method may see: whole patients, in an order that makes a smaller subset part of every larger one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from gazeseg.config import Labelled
from gazeseg.data.schema import Case
from gazeseg.errors import DataError, near_miss

LABELLED_SEED: Final = 0  # not the run's: every seed and method sees the masks of the same patients


def labelled_patients(cases: Iterable[Case], labelled: Labelled, order: Sequence[str] = ()) -> frozenset[str]:
    """Return the patients with labels.

    Args:
        cases: The training cases.
        labelled: ``data.labelled``. A share of the patients is rounded down, at least to one: 5 % of ACDC's 70 are 3,
            as in the published tables.
        order: Patients in the order in which they become labelled; patients that are not in it follow in one fixed
            random order.

    Raises:
        DataError: if a listed patient has no case, or there are fewer patients than asked for.

    Examples:
        >>> cases = [Case(f"{p}{n}", p, "train", None, None, 1, 1) for p in "abc" for n in (1, 2)]
        >>> sorted(labelled_patients(cases, "2 patients", ["c", "a", "b"]))
        ['a', 'c']
    """
    present = sorted({case.patient_id for case in cases})
    if isinstance(labelled, tuple):
        for patient in labelled:
            if patient not in present:
                raise DataError(
                    f"data.labelled: no training patient '{patient}'{near_miss(patient, present)}; "
                    "patients are named in the column patient_id of cases.csv"
                )
        return frozenset(labelled)
    if isinstance(labelled, str):
        count = int(labelled.partition(" ")[0])
        if count > len(present):
            raise DataError(
                f"data.labelled: {labelled} asked for, but only {len(present)} are for training; ask for fewer"
            )
    else:
        count = max(1, int(labelled * len(present) + 1e-9))  # .1 * 70 must be 7 whatever binary fractions do
    first = [patient for patient in order if patient in set(present)]
    rest = [patient for patient in present if patient not in set(first)]
    shuffled = [rest[i] for i in np.random.default_rng(LABELLED_SEED).permutation(len(rest))]
    return frozenset([*first, *shuffled][:count])
