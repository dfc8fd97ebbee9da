"""Samples sharpen a profile where they are as good as means, and are left alone where they are not."""

from __future__ import annotations

import numpy as np

from lineloss.sharpening import Sharp, sharpen

Floats = np.ndarray
DIGITS = np.array([0.01])


def use(seed: int) -> Floats:
    return np.random.default_rng(seed).gamma(0.7, 0.1, (1, 672))


def registered(true: Floats) -> Floats:
    return np.diff(
        np.floor(np.concatenate([[[0.003]], 0.003 + true.cumsum(axis=1)], axis=1) * 100) / 100, axis=1
    )


def error(sharp: Sharp, true: Floats) -> float:
    return float(np.sqrt(np.mean((sharp.energy - true) ** 2)))


def test_exact_samples_take_the_digit_away() -> None:
    true = use(1)
    shown, nothing = registered(true), np.zeros(true.shape)
    sharp = sharpen(shown, nothing, DIGITS, true / 0.93)
    assert error(sharp, true) < 0.3 * error(Sharp(shown, DIGITS, nothing), true)
    assert sharp.digits.tolist() == [0.0]
    assert np.sqrt(sharp.variance.mean()) > error(sharp, true)  # it promises no more than it has


def test_poor_samples_leave_the_register_as_it_is() -> None:
    true = use(2)
    shown = registered(true)
    sharp = sharpen(
        shown, np.zeros(true.shape), DIGITS, true * np.random.default_rng(3).gamma(4, 0.25, true.shape)
    )
    assert error(sharp, true) < 1.1 * np.sqrt(DIGITS[0] ** 2 / 6)


def test_what_was_filled_is_taken_from_samples_where_there_are_any() -> None:
    true = use(4)
    shown, variance = registered(true), np.zeros(true.shape)
    shown[0, 10:20] = shown[0, 10:20].mean()
    variance[0, 10:20] = 0.01
    apparent = true / 0.93
    apparent[0, 15:20] = np.nan
    sharp = sharpen(shown, variance, DIGITS, apparent)
    assert np.abs(sharp.energy - true)[0, 10:15].max() < 0.01
    assert sharp.energy[0, 15:20].tolist() == shown[0, 15:20].tolist()
    assert (sharp.variance[0, 15:20] == 0.01).all()
    assert (sharp.variance[0, 10:15] < 1e-4).all()


def test_without_samples_nothing_changes() -> None:
    true = use(5)
    shown, variance = registered(true), np.zeros(true.shape)
    shown[0, 3] = np.nan
    sharp = sharpen(shown, variance, DIGITS, np.full(true.shape, np.nan))
    assert np.array_equal(sharp.energy, shown, equal_nan=True)
    assert sharp.digits.tolist() == [0.01]
    assert not sharp.variance.any()
