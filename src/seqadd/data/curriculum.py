"""The sums of an epoch: each one once, or drawn by length (a curriculum, after Learning to Execute). numpy only.

Zaremba and Sutskever 2014 (arXiv 1410.4615) describe four strategies. The length of a sum is the number of digits of
its longer addend, and the target is the greatest length:

- ``none``: only sums of the target length.
- ``naive``: sums of one digit first, of one digit more when learning no longer makes progress, and so on to the target.
- ``mixed``: every length equally likely, in every epoch.
- ``combined``: half as ``naive``, half as ``mixed``.

An epoch has as many sums as the training set, drawn from it with repetition, because there are few short sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

#: ``naive`` moves to the next length when this share of the held-out sums of its length is correct,
LEARNT = 0.99
#: or when the share has not risen by more than ``PROGRESS`` for ``PATIENCE`` epochs.
PROGRESS = 0.01
PATIENCE = 5

Rows = npt.NDArray[np.int32]


def epoch_order(seed: int, epoch: int, n: int) -> Rows:
    """The order in which epoch ``epoch`` (from 1) visits ``n`` sums; determined by seed and epoch alone.

    (Keras 2 shuffled anew in every epoch; Keras 3's seeded ``fit`` on arrays repeats one order, like ``shuffle=once``.)
    """
    return np.random.default_rng((seed, epoch)).permutation(n).astype(np.int32)


def rows_by_length(curriculum: str, lengths: npt.NDArray[np.int64], at: int, seed: int, epoch: int) -> Rows:
    """The ``n`` rows of an epoch under a curriculum; determined by the arguments alone.

    Args:
        curriculum: ``none``, ``naive``, ``mixed`` or ``combined``.
        lengths: digits of each sum, shape ``(n,)``; every value from 1 to the greatest must occur.
        at: the current length of ``naive``, see ``stage``.
        seed: seed of the run.
        epoch: number of the epoch, from 1.
    """
    rng = np.random.default_rng((seed, epoch))
    n, target = len(lengths), int(lengths.max())
    mixed = rng.integers(1, target + 1, size=n)
    if curriculum == "none":
        wanted = np.full(n, target)
    elif curriculum == "naive":
        wanted = np.full(n, at)
    elif curriculum == "mixed":
        wanted = mixed
    else:
        wanted = np.where(rng.random(n) < 0.5, at, mixed)
    rows = np.empty(n, np.int32)
    for length in np.unique(wanted):
        there, places = np.flatnonzero(lengths == length), np.flatnonzero(wanted == length)
        rows[places] = rng.choice(there, size=len(places))
    return rows


def stage(history: Sequence[Mapping[str, float]], target: int) -> int:
    """The current length of ``naive`` after the epochs of ``history``: 1 before the first epoch, at most ``target``.

    Args:
        history: the metrics of each epoch; must contain ``val_exact_match_digits_N``.
        target: the greatest length.
    """
    at, best, since = 1, 0.0, 0
    for row in history:
        now = row[f"val_exact_match_digits_{at}"]
        since = 0 if now > best + PROGRESS else since + 1
        best = max(best, now) if since == 0 else best
        if at < target and (now >= LEARNT or since >= PATIENCE):
            at, best, since = at + 1, 0.0, 0
    return at


def missing_length(lengths: npt.NDArray[np.int64], held_out: npt.NDArray[np.int64], target: int) -> int | None:
    """The first length of 1 to ``target`` that is missing in the training or held-out sums; None if there is none."""
    both = set(lengths.tolist()) & set(held_out.tolist())
    return next((length for length in range(1, target + 1) if length not in both), None)
