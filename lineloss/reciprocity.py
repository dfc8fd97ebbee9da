"""Where a hidden current flows, told from voltages alone and without a model of the network.

A network of wires is reciprocal: an ampere drawn at k lowers the voltage at j by as much as an ampere drawn at j lowers it at k. So in

    drop = R current + noise        (ports x slots, each less its mean: what voltmeters differ drops out)

the matrix R is symmetric among ports of one phase, whatever the network is. It is so for the currents that flow, not for those that are
metered: a customer k whose meter sees only a part of his current lowers everybody's voltage by more than the others lower his. So each hypothesis
"this current flows at k beside the metered one" has a likelihood: that of the drops under the best symmetric R. The profile of the loss curve
tells *when* energy is lost; this tells *where*, and tells customers with the same habits apart, whom no profile can.

With R a priori N(0, rho^2) and noise of variance sigma^2, both unknown, everything is in the eigenbasis of S = current current': with
C = drop current' + current drop' the best R is C_ij / (l_i + l_j + tau), tau = sigma^2 / rho^2 (a Lyapunov equation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Ratios of noise to prior tried, as shares of the currents' mean square sum: from "the drops say everything" to "they say nothing".
_TAU: Final = np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])


@dataclass(frozen=True, slots=True)
class Hidden:
    """A hypothesis: amps float64[leg, slot] flow at `ports` int64[leg] beside what is metered there."""

    ports: Ints
    amps: Floats


def likelihoods(drop: Floats, current: Floats, hypotheses: Sequence[Hidden], *, projected: int = 1) -> Floats:
    """float64[hypothesis]: log-likelihood of the drops under each, relative to "nothing is hidden".

    drop     float64[port, slot] [V]   transformer less customer, on his phase; no gaps
    current  float64[port, slot] [A]   metered, primary side; no gaps
    projected                          directions that were projected out of both, and of the hypotheses, the mean among them
    """
    d, m = _centred(drop), _centred(current)
    s, k, power = m @ m.T, d @ m.T, float(np.sum(d * d))
    scale = float(np.trace(s)) / len(s)
    if not scale > 0 or not power > 0:
        return np.zeros(len(hypotheses))
    samples = _independent(d, m, projected)
    tries = [_log_likelihood(s, k, power, tau * scale, samples) for tau in _TAU.tolist()]
    tau = float(_TAU[int(np.argmax(tries))]) * scale
    result = np.empty(len(hypotheses))
    for n, hypothesis in enumerate(hypotheses):
        at, h = hypothesis.ports, _centred(hypothesis.amps)
        # rows of `current` become larger by h: so do their rows and columns of S, and their columns of K
        s_n, k_n, cross = s.copy(), k.copy(), m @ h.T
        s_n[at] += cross.T
        s_n[:, at] += cross
        s_n[np.ix_(at, at)] += h @ h.T
        k_n[:, at] += d @ h.T
        result[n] = _log_likelihood(s_n, k_n, power, tau, samples)
    return result - max(tries)


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def _log_likelihood(s: Floats, k: Floats, power: float, tau: float, samples: float) -> float:
    """The drops' log-likelihood with R and the noise's size integrated and fitted out."""
    value, basis = np.linalg.eigh(s)
    value = np.maximum(value, 0.0)
    c = basis.T @ (k + k.T) @ basis
    both = value[:, None] + value[None, :] + tau
    left = max(power - 0.5 * float(np.sum(c**2 / both)), 1e-12)
    upper = np.triu_indices(len(s))
    return -0.5 * samples * float(np.log(left / power)) - 0.5 * float(np.sum(np.log(both[upper] / tau)))


def _independent(drop: Floats, current: Floats, projected: int) -> float:
    """How many independent samples the drops are worth: their number, less for the persistence of what plain least squares leaves."""
    fitted, *_ = np.linalg.lstsq(current.T, drop.T, rcond=1e-6)
    left = drop.T - current.T @ fitted
    size = float(np.sum(left**2))
    alike = min(max(float(np.sum(left[1:] * left[:-1])) / size if size > 0 else 0.0, 0.0), 0.95)
    return float(max(drop.shape[1] - projected, 1) * len(drop) * (1 - alike) / (1 + alike))
