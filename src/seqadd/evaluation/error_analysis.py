"""Tables of a model's answers to many sums: confidence, confusions, hardest sums. Draws nothing.

Probabilities have the shape ``(n, answer_length, 12)``, as ``predict.probabilities`` returns them; answers are ids of
characters, ``(n, answer_length)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqadd.data import vocabulary
from seqadd.data.vocabulary import Ids
from seqadd.evaluation.questions import decode_answers
from seqadd.training import metrics

if TYPE_CHECKING:
    import pandas as pd

Probabilities = npt.NDArray[np.floating[Any]]


def by_question(
    questions: Sequence[str],
    answers: Ids,
    probabilities: Probabilities,
    carries: npt.NDArray[np.int64],
    p_answers: npt.NDArray[np.floating[Any]],
) -> pd.DataFrame:
    """Returns a row for each sum, in the given order.

    Args:
        questions: as people write them, ``535+61``.
        answers: the right answers.
        probabilities: of the model's answers.
        carries: the number of carries in each sum.
        p_answers: of each whole right answer, as ``predict.answer_probabilities`` returns them.

    Returns:
        Columns ``question``, ``answer``, ``guess`` (without padding), ``right``, ``carries``, ``p_answer`` and
        ``p_guess`` (the product of the probabilities of its characters), and for the position where the model is
        least sure: ``place`` (from 1), ``p`` (of its guess there), ``runner_up`` (the second most probable character)
        and ``p_runner_up``.
    """
    import pandas as pd

    guesses, seconds = _two_best(probabilities)
    p_guesses, p_seconds = _of(probabilities, guesses), _of(probabilities, seconds)
    least = p_guesses.argmin(axis=1)
    rows = np.arange(len(answers))
    return pd.DataFrame(
        {
            "question": list(questions),
            "answer": decode_answers(answers),
            "guess": decode_answers(guesses),
            "right": (guesses == answers).all(axis=1),
            "carries": carries,
            "p_answer": p_answers,
            "p_guess": p_guesses.prod(axis=1),
            "place": least + 1,
            "p": p_guesses[rows, least],
            "runner_up": [vocabulary.CHARACTERS[i] for i in seconds[rows, least]],
            "p_runner_up": p_seconds[rows, least],
        }
    )


def by_character(answer: Ids, probabilities: Probabilities) -> pd.DataFrame:
    """Returns one answer character by character.

    Args:
        answer: the right answer, shape ``(answer_length,)``.
        probabilities: shape ``(answer_length, 12)``.

    Returns:
        A row for each position: ``place`` (from 1), ``guess``, ``p``, ``runner_up``, ``p_runner_up``, ``answer``,
        ``p_answer`` and ``right``.
    """
    import pandas as pd

    guess, second = _two_best(probabilities)
    return pd.DataFrame(
        {
            "place": np.arange(1, len(answer) + 1),
            "guess": [vocabulary.CHARACTERS[i] for i in guess],
            "p": _of(probabilities, guess),
            "runner_up": [vocabulary.CHARACTERS[i] for i in second],
            "p_runner_up": _of(probabilities, second),
            "answer": [vocabulary.CHARACTERS[i] for i in answer],
            "p_answer": _of(probabilities, answer),
            "right": guess == answer,
        }
    )


def _two_best(probabilities: Probabilities) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Returns the ids of the two most probable characters; among equal ones the lowest id first, as in ``argmax``."""
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    return order[..., 0], order[..., 1]


def _of(probabilities: Probabilities, ids: npt.NDArray[np.integer[Any]]) -> Probabilities:
    return np.take_along_axis(probabilities, ids[..., None].astype(np.intp), axis=-1)[..., 0]


def hardest(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """Returns the ``n`` rows of ``by_question`` with the least probable right answers, the hardest first."""
    return table.sort_values("p_answer", kind="stable").head(n)


def by_position(answers: Ids, probabilities: Probabilities, counts: metrics.Counts = None) -> pd.DataFrame:
    """Returns a row for each position of the answer: ``place`` (from 1), ``accuracy``, ``p_answer`` (mean), ``sums``.

    Args:
        answers, probabilities: of all sums.
        counts: which characters count, shape ``(n, answer_length)``; None for all, padding included.
    """
    import pandas as pd

    counted = np.ones(answers.shape, bool) if counts is None else counts
    accuracy = metrics.accuracy_by_position(_guesses(probabilities), answers, counts)
    sure = _of(probabilities, answers)
    rows = [
        {
            "place": position,
            "accuracy": share,
            "p_answer": float(sure[counted[:, position - 1], position - 1].mean()),
            "sums": int(counted[:, position - 1].sum()),
        }
        for position, share in accuracy.items()
    ]
    return pd.DataFrame(rows)


def by_carries(answers: Ids, probabilities: Probabilities, carries: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Returns a row for each number of carries that occurs: ``carries``, ``exact_match``, ``sums``."""
    import pandas as pd

    right = metrics.exact_match_by(carries, _guesses(probabilities), answers)
    return pd.DataFrame(
        {
            "carries": list(right),
            "exact_match": list(right.values()),
            "sums": [int((carries == n).sum()) for n in right],
        }
    )


def confusion(answers: Ids, probabilities: Probabilities, counts: metrics.Counts = None) -> pd.DataFrame:
    """Returns the confusion matrix of characters: rows are right characters, columns guesses, both in order of ids.

    Args:
        answers, probabilities: of all sums.
        counts: as for ``by_position``.
    """
    import pandas as pd

    n = len(vocabulary.CHARACTERS)
    counted = np.ones(answers.shape, bool) if counts is None else counts
    pairs = answers[counted].astype(int) * n + _guesses(probabilities)[counted]
    names = list(vocabulary.CHARACTERS)
    table = np.bincount(pairs, minlength=n * n).reshape(n, n)
    return pd.DataFrame(table, index=pd.Index(names, name="answer"), columns=names)


def _guesses(probabilities: Probabilities) -> Ids:
    return probabilities.argmax(axis=-1).astype(np.uint8)
