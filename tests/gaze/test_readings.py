import numpy as np

from gazeseg.gaze.readings import join
from gazeseg.types import Fixations


def fix(onset, reader="r"):
    onset = np.array(onset, float)
    return Fixations(onset, onset, onset, np.full(len(onset), 100.0), (10, 10), "a", reader)


def test_viewings_follow_each_other_with_a_pause():
    both = join([fix([50, 300]), fix([7, 400], "s")])
    assert both.onset_ms.tolist() == [50, 300, 1400, 1793]
    assert both.x_px.tolist() == [50, 300, 7, 400]
    assert both.reader_id == "r+s"


def test_a_viewing_without_fixations_adds_nothing():
    one = fix([5])
    assert join([one, fix([])]) is one
    assert len(join([fix([]), fix([])])) == 0
