import numpy as np
import pytest

from seqadd.data.addition import VOCABULARY
from seqadd.data.vocabulary import Vocabulary


def test_the_alphabet_is_sorted_as_the_articles_character_table():
    assert sorted("0123456789+ ") == list(VOCABULARY.characters)


def test_a_question_becomes_the_places_of_its_characters():
    assert VOCABULARY.encode([" 543+21"]).tolist() == [[0, 7, 6, 5, 1, 4, 3]]


def test_decoding_gives_the_texts_back():
    texts = ["535+61 ", "16+535 ", "0+0    "]
    assert VOCABULARY.decode(VOCABULARY.encode(texts)) == texts


def test_one_hot_has_a_single_one_at_the_characters_place():
    assert VOCABULARY.one_hot(VOCABULARY.encode(["0 "])).tolist() == [
        [[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    ]
    assert VOCABULARY.one_hot(np.zeros((5, 7), dtype=np.uint8)).shape == (5, 7, 12)


def test_a_strange_character_is_named():
    with pytest.raises(ValueError, match="'x'"):
        VOCABULARY.encode(["1+x"])


def test_texts_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        VOCABULARY.encode(["1+", "1+2"])


def test_any_alphabet_has_its_ids_in_the_order_of_its_characters():
    other = Vocabulary(" *ab")
    ids = other.encode(["a*b ", "b   "])
    assert ids.tolist() == [[2, 1, 3, 0], [3, 0, 0, 0]]
    assert other.decode(ids) == ["a*b ", "b   "]
    assert other.one_hot(ids).shape == (2, 4, 4)
