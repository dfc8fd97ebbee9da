"""Passwords are counted by protocol, and one is always left."""

import pytest

from terminals.diagnose.lockout import Lockout


@pytest.mark.parametrize(("limit", "tries"), [(2, 1), (3, 2), (5, 4)])
def test_one_wrong_password_is_always_left(limit, tries):
    lockout = Lockout(limit)
    for _ in range(tries):
        assert lockout.may_try("dlms")
        lockout.wrong("dlms")
    assert not lockout.may_try("dlms")
    assert lockout.left("dlms") == 1
    assert lockout.may_try("dlt698")


def test_the_count_is_told_in_both_languages():
    lockout = Lockout()
    lockout.wrong("dlms")
    words = lockout.words("dlms")
    assert words.en == "1 wrong password tried in this run; taken to lock at 3, so 2 left before the lock"
    assert "还剩 2 次" in words.zh
