"""What a model answers, from probabilities written by hand."""

import numpy as np
import pytest

from seqadd.data.addition import VOCABULARY
from seqadd.data.notation import Notation
from seqadd.data.vocabulary import CHARACTERS
from seqadd.evaluation import error_analysis

ANSWERS = VOCABULARY.encode(["12", "9 ", "15"])
CARRIES = np.array([0, 0, 1])


def probabilities_of(*each: dict[str, float]) -> np.ndarray:
    """A place for each dict: characters with their probabilities."""
    values = np.zeros((len(each), 12))
    for place, given in enumerate(each):
        for character, p in given.items():
            values[place, VOCABULARY.characters.index(character)] = p
    return values


PROBABILITIES = np.stack(
    [
        probabilities_of({"1": 0.9, "2": 0.1}, {"2": 0.8, "3": 0.2}),
        probabilities_of({"9": 1.0}, {" ": 0.5, "0": 0.4, "1": 0.1}),
        probabilities_of({"1": 0.7, " ": 0.3}, {"5": 0.4, "6": 0.6}),
    ]
)


def test_a_row_for_each_sum():
    table = error_analysis.by_question(
        ["5+7", "9+0", "8+7"], ANSWERS, PROBABILITIES, {"carries": CARRIES}, [0.72, 0.5, 0.28], Notation(CHARACTERS)
    )
    assert table["guess"].tolist() == ["12", "9", "16"]
    assert table["answer"].tolist() == ["12", "9", "15"]
    assert table["right"].tolist() == [True, True, False]
    assert table["p_answer"].tolist() == pytest.approx([0.72, 0.5, 0.28])
    assert table["p_guess"].tolist() == pytest.approx([0.72, 0.5, 0.42])
    assert table["place"].tolist() == [2, 2, 2]
    assert table["runner_up"].tolist() == ["3", "0", "5"]
    assert table["p_runner_up"].tolist() == pytest.approx([0.2, 0.4, 0.4])
    assert error_analysis.hardest(table, 2)["question"].tolist() == ["8+7", "9+0"]


def test_an_answer_character_by_character():
    table = error_analysis.by_character(ANSWERS[2], PROBABILITIES[2], CHARACTERS)
    assert table.to_dict("list") == {
        "place": [1, 2],
        "guess": ["1", "6"],
        "p": pytest.approx([0.7, 0.6]),
        "runner_up": [" ", "5"],
        "p_runner_up": pytest.approx([0.3, 0.4]),
        "answer": ["1", "5"],
        "p_answer": pytest.approx([0.7, 0.4]),
        "right": [True, False],
    }


def test_accuracy_by_place_and_by_carries():
    by_position = error_analysis.by_position(ANSWERS, PROBABILITIES)
    assert by_position["accuracy"].tolist() == pytest.approx([1, 2 / 3])
    assert by_position["p_answer"].tolist() == pytest.approx([(0.9 + 1 + 0.7) / 3, (0.8 + 0.5 + 0.4) / 3])
    by_carries = error_analysis.by_group(ANSWERS, PROBABILITIES, "carries", CARRIES)
    assert list(by_carries.columns) == ["carries", "exact_match", "sums"]
    assert by_carries.to_numpy().tolist() == [[0, 1.0, 2], [1, 0.0, 1]]


def test_what_stood_for_what():
    table = error_analysis.confusion(ANSWERS, PROBABILITIES, CHARACTERS)
    assert table.loc["5", "6"] == 1
    assert table.loc["5", "5"] == 0
    assert table.loc["1", "1"] == 2
    assert table.to_numpy().sum() == ANSWERS.size
    first_alone = error_analysis.confusion(
        ANSWERS, PROBABILITIES, CHARACTERS, np.arange(ANSWERS.shape[1]) < np.ones((len(ANSWERS), 1))
    )
    assert first_alone.to_numpy().sum() == len(ANSWERS)
