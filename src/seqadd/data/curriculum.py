"""Which sums an epoch takes: all of them once, or by their lengths, after Learning to Execute. numpy only.

Zaremba and Sutskever 2014 (arXiv 1410.4615) have four strategies. The length of a sum is the number of digits of its
longer addend, and the target is the longest:

- ``none``: sums of the target's length alone.
- ``naive``: of one digit first, of one more when learning no longer makes progress, and so on to the target.
- ``mixed``: every length equally likely, all the time.
- ``combined``: half as ``naive``, half as ``mixed``.

An epoch has as many sums as the training set, drawn from it with repetition, since there are few short ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

#: ``naive`` goes on to the next length when this share of held-out sums of its length is right,
LEARNT = 0.99
#: or when it has not become greater by so much in so many epochs.
PROGRESS = 0.01
PATIENCE = 5

Rows = npt.NDArray[np.int32]


def epoch_order(seed: int, epoch: int, n: int) -> Rows:
    """The order in which epoch ``epoch`` (from 1) goes over ``n`` sums; follows from seed and epoch alone.

    (Keras 2 had a new one in every epoch; Keras 3's seeded ``fit`` on arrays repeats one, as ``shuffle=once`` does.)
    """
    return np.random.default_rng((seed, epoch)).permutation(n).astype(np.int32)


def rows_by_length(curriculum: str, lengths: npt.NDArray[np.int64], at: int, seed: int, epoch: int) -> Rows:
    """The rows that epoch ``epoch`` (from 1) takes, as many as there are; follows from the arguments alone.

    Args:
        curriculum: ``none``, ``naive``, ``mixed`` or ``combined``.
        lengths: digits of each sum, shape ``(n,)``; all of 1 to the greatest occur.
        at: the length at which ``naive`` is, see ``stage``.
        seed: of the run.
        epoch: from 1.
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
    """The length at which ``naive`` is after some epochs: 1 before the first, at most ``target``.

    Args:
        history: the metrics of each epoch, ``val_exact_match_digits_N`` among them.
        target: the longest.
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
    """A length of 1 to ``target`` that no sum to be learnt has, or none held out; None if all occur in both."""
    both = set(lengths.tolist()) & set(held_out.tolist())
    return next((length for length in range(1, target + 1) if length not in both), None)
