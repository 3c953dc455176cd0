"""Sequence arithmetic (RFC 9293 §3.4) across the wrap."""

from hypothesis import example, given
from hypothesis import strategies as st

from neat.wire.testing import seq_ge, seq_gt, seq_in_window, seq_le, seq_lt, seq_max

MODULUS = 2**32
numbers = st.one_of(st.integers(0, MODULUS - 1), st.integers(-3, 3).map(lambda n: n % MODULUS))


@given(numbers, st.integers(1, 2**31 - 1))
@example(MODULUS - 1, 1)
@example(0, 2**31 - 1)
def test_what_comes_later_is_greater(a, distance):
    b = (a + distance) % MODULUS
    assert seq_lt(a, b) and seq_le(a, b) and not seq_gt(a, b) and not seq_ge(a, b)
    assert seq_gt(b, a) and seq_ge(b, a) and not seq_lt(b, a) and not seq_le(b, a)
    assert seq_max(a, b) == seq_max(b, a) == b


@given(numbers)
def test_a_number_equals_itself(a):
    assert seq_le(a, a) and seq_ge(a, a) and not seq_lt(a, a) and not seq_gt(a, a)
    assert seq_max(a, a) == a


@given(numbers, st.integers(0, 2**31), st.integers(0, MODULUS - 1))
def test_window(left, size, offset):
    assert seq_in_window((left + offset) % MODULUS, left, size) == (offset < size)


@given(numbers, numbers)
def test_an_empty_window_holds_nothing(value, left):
    assert not seq_in_window(value, left, 0)
