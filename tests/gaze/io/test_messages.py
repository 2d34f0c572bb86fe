import math
from pathlib import Path

import pytest

from gazeseg.errors import DataError
from gazeseg.gaze.io.messages import Message, Span, find_trials
from gazeseg.gaze.io.trial import ReadOptions

CASES = {"a", "b", "case 7"}
OPTIONS = ReadOptions(lambda name: name.removesuffix(".png") if name.removesuffix(".png") in CASES else None)


def trials(*messages, starts=(), ends=(), options=OPTIONS):
    return find_trials(Path("f.asc"), [Message(t, text) for t, text in messages], list(starts), list(ends), options)[0]


def test_an_image_lasts_from_its_display_to_the_result_of_the_trial():
    found = trials(
        (0, "TRIALID 1"), (10, "!V IMGLOAD FILL a.png"), (30, "SYNCTIME"), (900, "TRIAL_RESULT 0"),
        (1000, "TRIALID 2"), (1010, "!V IMGLOAD CENTER dir/b.png 500 400 200 100"), (1030, "DISPLAY ON"),
        starts=[5, 1005], ends=[950, 1950],
    )  # fmt: skip
    assert found == [Span("a", 30, 900), Span("b", 1030, 1951, (400, 350, 200, 100))]


def test_a_variable_written_after_the_trial_names_the_image():
    found = trials((0, "TRIALID 1"), (900, "TRIAL_RESULT 0"), (901, "!V TRIAL_VAR image a.png"), starts=[5], ends=[890])
    assert found == [Span("a", 0, 891)]


def test_several_images_in_a_block_follow_each_other():
    found = trials(
        (10, "show a"), (200, "show b.png"), (250, "b still there"), (500, "IMAGE OFF b"), starts=[0], ends=[900]
    )
    assert found == [Span("a", 10, 200), Span("b", 200, 500)]


def test_expressions_name_begin_and_end():
    options = ReadOptions(OPTIONS.resolve, start="^SHOW (?P<image>.+)$", end="^HIDE")
    messages = (0, "SHOW case 7"), (50, "HIDE"), (60, "SHOW x"), (99, "SHOW a")
    assert trials(*messages, options=options) == [Span("case 7", 0, 50), Span("x", 60, 99), Span("a", 99, math.inf)]


def test_one_image_for_a_whole_file():
    assert trials((3, "hello"), starts=[5], options=ReadOptions(image="a")) == [Span("a", 5, math.inf)]


def test_messages_that_name_no_case():
    with pytest.raises(DataError, match=r"no message names a case of the data set .messages: 'FIXATE'"):
        trials((0, "FIXATE"), starts=[0])
