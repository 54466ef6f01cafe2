import numpy as np

from seqadd.data.addition import VOCABULARY
from seqadd.training import metrics

RIGHT = VOCABULARY.encode(["596 ", "1014", "7   "])
GUESS = VOCABULARY.encode(["596 ", "1004", "17  "])


def test_character_accuracy_counts_every_place_padding_included():
    assert metrics.character_accuracy(GUESS, RIGHT) == 9 / 12


def test_accuracy_by_position_counts_each_place_from_one():
    assert metrics.accuracy_by_position(GUESS, RIGHT) == {1: 2 / 3, 2: 2 / 3, 3: 2 / 3, 4: 1.0}


def test_exact_match_by_carries_has_the_numbers_that_occur():
    assert metrics.exact_match_by(np.array([0, 2, 2]), GUESS, RIGHT) == {0: 1.0, 2: 0.0}


def test_exact_match_counts_sums_without_a_wrong_character():
    assert metrics.exact_match(GUESS, RIGHT) == 1 / 3
    assert metrics.exact_match(RIGHT, RIGHT) == 1.0


def test_answers_of_nothing_but_padding_are_right_where_padding_is_asked():
    assert metrics.character_accuracy(np.zeros_like(RIGHT), RIGHT) == 4 / 12


def test_accuracy_by_position_has_the_share_of_those_that_count_there():
    """Where lengths are free, only the first of these answers has a fourth character, and none a fifth."""
    right = VOCABULARY.encode(["101  ", "7    ", "12   "])
    guess = VOCABULARY.encode(["102  ", "1    ", "12   "])
    counts = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], dtype=bool)
    assert metrics.accuracy_by_position(guess, right, counts) == {1: 2 / 3, 2: 1.0, 3: 1 / 2, 4: 1.0}
    assert metrics.character_accuracy(guess, right, counts) == 7 / 9
