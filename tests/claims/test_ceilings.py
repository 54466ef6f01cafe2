"""Ceilings against every function that there is, tried one after the other, and against sets drawn by the generator."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from conftest import make_config

from seqadd.claims import ceilings
from seqadd.data import addition
from seqadd.data.addition import VOCABULARY


def best_of_all_functions(visible: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> float:
    """The accuracy of the best function, by trying all: each way to say a character for each thing that can be seen."""
    seen, said = sorted(set(visible.ravel().tolist())), sorted(set(answers.ravel().tolist()))
    best = 0.0
    for guesses in itertools.product(said, repeat=len(seen)):
        of = dict(zip(seen, guesses, strict=True))
        guessed = np.vectorize(of.get)(visible)
        best = max(best, float(((guessed == answers).mean(axis=1) * weights).sum() / weights.sum()))
    return best


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("reader", list(ceilings.READERS))
def test_no_function_of_one_digit_questions_is_better_than_the_ceiling(reader, reverse):
    """Six questions of addends 0 to 2, so few that all functions can be tried: 4 characters seen, 4 to be said."""
    law = ceilings.draw_distribution(1)
    few = (law.addends <= 2).all(axis=1) & (law.addends.sum(axis=1) >= 2)
    length = 2 if reader == "whole_question" else 3
    questions = addition.write_questions(law.addends[few], 3)[:, :: -1 if reverse else 1]
    answers = addition.write_answers(law.addends[few], length)
    weights = np.arange(1.0, few.sum() + 1)  # not all the same
    visible = ceilings.READERS[reader](questions, length)
    if reader == "characters_so_far":  # 3 + 3 + 6 things to be seen are too many to try at once, but not one by one
        parts = [best_of_all_functions(visible[:, [i]], answers[:, [i]], weights) for i in range(3)]
        expected = float(np.mean(parts))
    else:
        expected = best_of_all_functions(visible, answers, weights)
    assert ceilings.ceiling(visible, answers, weights) == pytest.approx(expected, abs=1e-12)
    assert expected < 1.0


@pytest.mark.parametrize("reverse_answer", [None, True])
def test_whole_one_digit_law_against_counting_by_hand(reverse_answer):
    """Every one-digit question, read by hand: what follows each beginning of the reversed question, counted."""
    config = make_config("architecture=aligned", "task.digits=1", "task.n_questions=55", "batch_size=10")
    config = dataclasses.replace(config, reverse_answer=reverse_answer)
    law = ceilings.dataset_distribution(1, 55)  # all 55 pairs are there, each either way round
    right = 0.0
    for position in range(3):
        counted: dict[str, dict[str, float]] = {}
        for a, b in itertools.product(range(10), repeat=2):
            question, answer = f"{b}+{a}", str(a + b)[:: -1 if reverse_answer else 1].ljust(3)
            weight = 1.0 if a == b else 0.5
            of = counted.setdefault(question[: position + 1], {})
            of[answer[position]] = of.get(answer[position], 0.0) + weight
        right += sum(max(of.values()) for of in counted.values())
    assert ceilings.distribution_ceiling(law, "characters_so_far", config) == pytest.approx(right / 55 / 3, abs=1e-12)


def test_the_law_of_draws_is_that_of_the_generator():
    law = ceilings.draw_distribution(2)
    weight = {tuple(pair): weight for pair, weight in zip(law.addends.tolist(), law.weights, strict=True)}
    # One digit: 1/2 * 1/10, and "07" as well: 1/2 * 1/100. Two digits: 1/2 * 1/100.
    assert weight[7, 42] == pytest.approx((0.05 + 0.005) * 0.005)
    assert math.fsum(law.weights) == pytest.approx(1.0)


def test_the_law_of_sets_is_the_mean_of_many_sets():
    law = ceilings.dataset_distribution(1, 20)
    assert law.weights.sum() == pytest.approx(1.0)
    there = np.zeros((10, 10))
    for seed in range(3000):
        a, b = addition.draw_addends(20, 1, np.random.default_rng(seed)).T
        there[a, b] += 1 / 3000 / 20
    assert there.ravel() == pytest.approx(law.weights, abs=0.0015)  # three standard deviations of each


def test_in_two_digit_sets_short_numbers_come_nearly_always_and_long_ones_as_often_as_there_is_room():
    law = ceilings.dataset_distribution(2, 1000)
    share = {tuple(pair): 1000 * weight for pair, weight in zip(law.addends.tolist(), law.weights, strict=True)}
    counted = dict.fromkeys([(3, 7), (33, 77)], 0.0)
    for seed in range(300):
        drawn = set(map(tuple, addition.draw_addends(1000, 2, np.random.default_rng(seed)).tolist()))
        for pair in counted:
            counted[pair] += (pair in drawn) / 300
    assert share[3, 7] == pytest.approx(counted[3, 7], abs=0.09)
    assert share[33, 77] == pytest.approx(counted[33, 77], abs=0.05)
    assert share[3, 7] > 0.49 > 3 * share[33, 77]  # of a pair, each way round is there half the time


def test_the_articles_ceilings():
    """As measured beforehand, by another computation: 0.5718 and 0.6231."""
    law = ceilings.dataset_distribution(3, 50_000)
    assert ceilings.distribution_ceiling(law, "one_character", make_config("cell=dense")) == pytest.approx(
        0.5718, abs=5e-5
    )
    aligned = make_config("architecture=aligned")
    assert ceilings.distribution_ceiling(law, "characters_so_far", aligned) == pytest.approx(0.6231, abs=5e-5)


def test_what_is_counted_on_a_set_is_what_a_list_of_all_its_sums_could_say():
    questions = VOCABULARY.encode(["1+1", "1+2", "2+1"])
    answers = VOCABULARY.encode(["2  ", "3  ", "3  "])
    # First character: 1 is seen twice, before a 2 and a 3, so one of three is lost; all else can be known by heart.
    assert ceilings.dataset_ceiling(questions, answers, "characters_so_far") == pytest.approx(8 / 9)


def test_too_many_digits_are_refused():
    with pytest.raises(ValueError, match=r"digits=4: must be at most 3"):
        ceilings.draw_distribution(4)


def test_a_model_that_sees_the_whole_question_has_no_ceiling():
    assert ceilings.visible_context(make_config()) is None
    assert ceilings.visible_context(make_config("cell=dense")) == "one_character"
    assert ceilings.visible_context(make_config("architecture=aligned", "cell=gru")) == "characters_so_far"
