import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.bcd import bcd_columns, from_bcd, to_bcd
from protocols.errors import FrameError, Misuse


@given(st.integers(0, 10**12 - 1))
def test_numbers_come_back(number):
    raw = to_bcd(number, 6)
    assert from_bcd(raw) == number
    numbers, good = bcd_columns(np.frombuffer(raw, np.uint8).reshape(1, 6))
    assert (numbers.tolist(), good.tolist()) == ([number], [True])


@given(st.binary(min_size=1, max_size=8))
def test_columns_agree_with_one_at_a_time(raw):
    numbers, good = bcd_columns(np.frombuffer(raw, np.uint8).reshape(1, -1))
    if good[0]:
        assert from_bcd(raw) == numbers[0]
    else:
        with pytest.raises(FrameError, match="BCD"):
            from_bcd(raw)


@pytest.mark.parametrize("number", [-1, 100])
def test_too_much_is_misuse(number):
    with pytest.raises(Misuse):
        to_bcd(number, 1)
