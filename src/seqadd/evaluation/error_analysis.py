"""Tables of a model's answers to many questions: confidence, confusions, the hardest. Draws nothing.

Probabilities have the shape ``(n, answer_length, characters)``, as ``predict.probabilities`` returns them; answers are
ids of characters, ``(n, answer_length)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqadd.data.drawing import Counts
from seqadd.data.notation import Notation
from seqadd.data.vocabulary import Ids
from seqadd.training import metrics

if TYPE_CHECKING:
    import pandas as pd

Probabilities = npt.NDArray[np.floating[Any]]


def by_question(
    questions: Sequence[str],
    answers: Ids,
    probabilities: Probabilities,
    groups: Mapping[str, Counts],
    p_answers: npt.NDArray[np.floating[Any]],
    notation: Notation,
) -> pd.DataFrame:
    """Returns a row for each question, in the given order.

    Args:
        questions: as people write them, ``535+61``.
        answers: the right answers.
        probabilities: of the model's answers.
        groups: numbers of each question, by name: its carries.
        p_answers: of each whole right answer, as ``predict.answer_probabilities`` returns them.
        notation: of the model.

    Returns:
        Columns ``question``, ``answer``, ``guess`` (both as people write them), ``right``, one for each group,
        ``p_answer`` and ``p_guess`` (the product of the probabilities of its characters), and for the position of the
        model's output where it is least sure: ``place`` (from 1), ``p`` (of its guess there), ``runner_up`` (the second
        most probable character) and ``p_runner_up``.
    """
    import pandas as pd

    guesses, seconds = _two_best(probabilities)
    p_guesses, p_seconds = _of(probabilities, guesses), _of(probabilities, seconds)
    least = p_guesses.argmin(axis=1)
    rows = np.arange(len(answers))
    return pd.DataFrame(
        {
            "question": list(questions),
            "answer": notation.read_answers(answers),
            "guess": notation.read_answers(guesses),
            "right": (guesses == answers).all(axis=1),
            **groups,
            "p_answer": p_answers,
            "p_guess": p_guesses.prod(axis=1),
            "place": least + 1,
            "p": p_guesses[rows, least],
            "runner_up": [notation.alphabet[i] for i in seconds[rows, least]],
            "p_runner_up": p_seconds[rows, least],
        }
    )


def by_character(answer: Ids, probabilities: Probabilities, alphabet: str) -> pd.DataFrame:
    """Returns one answer character by character.

    Args:
        answer: the right answer, shape ``(answer_length,)``.
        probabilities: shape ``(answer_length, characters)``.
        alphabet: the characters.

    Returns:
        A row for each position: ``place`` (from 1), ``guess``, ``p``, ``runner_up``, ``p_runner_up``, ``answer``,
        ``p_answer`` and ``right``.
    """
    import pandas as pd

    guess, second = _two_best(probabilities)
    return pd.DataFrame(
        {
            "place": np.arange(1, len(answer) + 1),
            "guess": [alphabet[i] for i in guess],
            "p": _of(probabilities, guess),
            "runner_up": [alphabet[i] for i in second],
            "p_runner_up": _of(probabilities, second),
            "answer": [alphabet[i] for i in answer],
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


def by_position(
    answers: Ids, probabilities: Probabilities, counts: metrics.Counts = None, noun: str = "sums"
) -> pd.DataFrame:
    """Returns a row for each position of the model's output: ``place`` (from 1), ``accuracy``, ``p_answer``, ``sums``.

    Args:
        answers, probabilities: of all questions.
        counts: which characters count, shape ``(n, answer_length)``; None for all, padding included.
        noun: the name of the last column, how many questions have a character there.
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
            noun: int(counted[:, position - 1].sum()),
        }
        for position, share in accuracy.items()
    ]
    return pd.DataFrame(rows)


def by_group(
    answers: Ids, probabilities: Probabilities, name: str, numbers: Counts, noun: str = "sums"
) -> pd.DataFrame:
    """Returns a row for each number of a group that occurs: ``carries``, ``exact_match``, ``sums``.

    Args:
        answers, probabilities: of all questions.
        name: of the group, and of the first column.
        numbers: of each question, shape ``(n,)``.
        noun: the name of the last column.
    """
    import pandas as pd

    right = metrics.exact_match_by(numbers, _guesses(probabilities), answers)
    return pd.DataFrame(
        {
            name: list(right),
            "exact_match": list(right.values()),
            noun: [int((numbers == n).sum()) for n in right],
        }
    )


def confusion(answers: Ids, probabilities: Probabilities, alphabet: str, counts: metrics.Counts = None) -> pd.DataFrame:
    """Returns the confusion matrix of characters: rows are right characters, columns guesses, both in order of ids.

    Args:
        answers, probabilities: of all questions.
        alphabet: the characters.
        counts: as for ``by_position``.
    """
    import pandas as pd

    n = len(alphabet)
    counted = np.ones(answers.shape, bool) if counts is None else counts
    pairs = answers[counted].astype(int) * n + _guesses(probabilities)[counted]
    names = list(alphabet)
    table = np.bincount(pairs, minlength=n * n).reshape(n, n)
    return pd.DataFrame(table, index=pd.Index(names, name="answer"), columns=names)


def _guesses(probabilities: Probabilities) -> Ids:
    return probabilities.argmax(axis=-1).astype(np.uint8)
