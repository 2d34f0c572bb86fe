import json
import struct

import numpy as np
import pytest

from gazeseg.errors import DataError
from gazeseg.record.messages import MAX_BATCH, encode_binary, parse_device


def test_json_and_binary_mean_the_same() -> None:
    text = json.dumps(
        {"seq": 7, "t_ms": [1, 2, 3], "x": [10.5, None, 12], "y": [20, 21, 22], "pupil": [3.1, 3.2, None]}
    )
    samples = np.array([[1, 10.5, 20, 3.1], [2, np.nan, np.nan, 3.2], [3, 12, 22, np.nan]])
    for message in (text, encode_binary(7, samples)):
        seq, found = parse_device(message)
        assert seq == 7
        np.testing.assert_array_equal(found, samples)


def test_the_binary_form_is_as_documented() -> None:
    message = struct.pack("<4sII", b"GZ01", 3, 1) + struct.pack("<4d", 1000.0, 5.0, 6.0, float("nan"))
    assert message == encode_binary(3, np.array([[1000.0, 5.0, 6.0, np.nan]]))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"GZ02" + bytes(8),
        struct.pack("<4sII", b"GZ01", 0, 2) + bytes(32),
        encode_binary(0, np.full((1, 4), np.nan)),
        encode_binary(0, np.zeros((MAX_BATCH + 1, 4))),
        "[]",
        '{"seq": 1, "t_ms": [1, 2], "x": [1], "y": [1, 2]}',
        '{"seq": 1, "t_ms": [null], "x": [1], "y": [1]}',
        '{"seq": -1, "t_ms": [], "x": [], "y": []}',
        '{"seq": 1, "t_ms": [1], "x": [1], "y": [1], "path": "/etc/passwd"}',
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(message: str | bytes) -> None:
    with pytest.raises(DataError) as caught:
        parse_device(message)
    assert "\n" not in str(caught.value)
