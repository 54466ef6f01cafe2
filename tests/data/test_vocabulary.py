import numpy as np
import pytest

from seqadd.data import vocabulary


def test_the_alphabet_is_sorted_as_the_articles_character_table():
    assert sorted("0123456789+ ") == list(vocabulary.CHARACTERS)


def test_a_question_becomes_the_places_of_its_characters():
    assert vocabulary.encode([" 543+21"]).tolist() == [[0, 7, 6, 5, 1, 4, 3]]


def test_decoding_gives_the_texts_back():
    texts = ["535+61 ", "16+535 ", "0+0    "]
    assert vocabulary.decode(vocabulary.encode(texts)) == texts


def test_one_hot_has_a_single_one_at_the_characters_place():
    assert vocabulary.one_hot(vocabulary.encode(["0 "])).tolist() == [
        [[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    ]
    assert vocabulary.one_hot(np.zeros((5, 7), dtype=np.uint8)).shape == (5, 7, 12)


def test_a_strange_character_is_named():
    with pytest.raises(ValueError, match="'x'"):
        vocabulary.encode(["1+x"])


def test_texts_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        vocabulary.encode(["1+", "1+2"])
