"""A task of texts: adapts the class of an own part to ``data.drawing.Task``, and refuses what it must not return.

A part says in texts what is asked and answered. Its methods are called here only, and every mistake of theirs ends in
one line that names the part: ``subtraction.py:6: task=subtraction: ...``.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from seqadd.data.drawing import Counts, Items
from seqadd.data.vocabulary import Ids, Vocabulary
from seqadd.errors import ConfigError, SeqaddError

# A draw asks for at least so many questions. It is fruitless if fewer than one in a thousand are new; after so many
# fruitless draws in a row the task is taken to have no more.
_AT_LEAST, _ONE_IN, _FRUITLESS = 1_000, 1_000, 10
_SHOWN = 60  # characters of a part's own text in a message


class TextTask:
    """A task whose items are texts; see ``data.drawing.Task``.

    Args:
        task: an instance of the part's class.
        characters: of its questions and answers, without the blank.
        where: the beginning of messages: ``subtraction.py:6: task=subtraction``.
    """

    def __init__(self, task: Any, characters: str, where: str) -> None:
        self._task, self._characters, self._where = task, characters, where
        self._room: tuple[int, int] | None = None

    @property
    def alphabet(self) -> str:
        """The characters of its questions and answers, the blank first."""
        return " " + self._characters

    def room(self) -> tuple[int, int]:
        """The most characters of a question, and of an answer: those that the part's ``roomiest`` needs."""
        if self._room is None:
            questions = self._texts(self._call("roomiest"), "roomiest()")
            if not questions:
                raise self._error("roomiest() returns no question; it must return one that needs the most room")
            self._check_characters(questions, "roomiest()")
            answers = self._solve(questions)
            self._room = max(map(len, questions)), max(1, *map(len, answers))
        return self._room

    def draw(self, n: int, rng: np.random.Generator) -> Items:
        """The first ``n`` distinct questions of the part's draws.

        Raises:
            ConfigError: if the part has fewer, or draws what is no question of it.
        """
        found: dict[Any, str] = {}
        at_once, fruitless, draws = max(n, _AT_LEAST), 0, 0
        while len(found) < n:
            if fruitless == _FRUITLESS:
                raise self._error(
                    f"gave {len(found)} distinct questions in {draws} draws of {at_once}; lower task.n_questions={n}"
                )
            questions, before = self._drawn(at_once, rng), len(found)
            for question, key in zip(questions, self._keys(questions), strict=True):
                found.setdefault(key, question)
            fruitless = 0 if _ONE_IN * (len(found) - before) >= at_once else fruitless + 1
            draws += 1
        return _as_items(list(found.values())[:n])

    def draw_longer(self, rng: np.random.Generator) -> Items:
        """No questions: longer ones than those of the data set belong to addition."""
        return _as_items([])

    def write_questions(self, items: Items, length: int) -> Ids:
        """The ids of questions, padded on the right, ``(n, length)``."""
        return self._write(items.tolist(), length)

    def write_answers(self, items: Items, length: int) -> Ids:
        """The ids of the part's answers, padded on the right, ``(n, length)``.

        Raises:
            ConfigError: for an answer that is longer than ``roomiest`` said.
        """
        questions = items.tolist()
        answers, longest = self._solve(questions), self.room()[1]
        for question, answer in zip(questions, answers, strict=True):
            if len(answer) > longest:
                raise self._error(
                    f"solve({_shown(question)}) returns {_shown(answer)}, {len(answer)} characters; those of "
                    f"roomiest() have at most {longest}: roomiest() must return the questions that need the most"
                )
        return self._write(answers, length)

    def groups(self, items: Items) -> dict[str, Counts]:
        """The part's groups; none if it has no such method."""
        if not hasattr(self._task, "groups"):
            return {}
        questions = items.tolist()
        each = [self._numbers(question, found) for question, found in zip(questions, self._calls("groups", questions),
                                                                          strict=True)]  # fmt: skip
        names = list(each[0]) if each else []
        for question, numbers in zip(questions, each, strict=True):
            if set(numbers) != set(names):
                raise self._error(
                    f"groups({_shown(question)}) has {_listed(numbers)}, groups({_shown(questions[0])}) has "
                    f"{_listed(names)}; every question must have the same groups"
                )
        return {name: np.array([numbers[name] for numbers in each], np.int64) for name in names}

    def digits(self, items: Items) -> Counts:
        """Empty: curricula belong to addition."""
        return np.zeros(0, np.int64)

    def read(self, text: str) -> str:
        """A question as a person typed it, without blanks around its signs.

        Raises:
            ValueError: in one line, for a text that ``solve`` refuses, or that needs more room than ``roomiest`` said.
        """
        room = self.room()
        question = without_blanks(text, self.alphabet)
        example = self._texts(self._call("roomiest"), "roomiest()")[0]
        strange = sorted(set(question) - set(self._characters))
        if strange:
            raise ValueError(f"question={text}: {strange[0]!r} is no character of this task; write it as {example}")
        try:
            answer = self._task.solve(question) if question else None
        except ValueError:
            answer = None
        except Exception as error:
            raise self._raised(f"solve({_shown(question)})", error) from error
        if answer is None:
            raise ValueError(f"question={text}: is no question of this task; write it as {example}")
        self._check_answers([question], [answer])
        for what, value, most in (("question", question, room[0]), ("answer", answer, room[1])):
            if len(value) > most:
                raise ValueError(
                    f"question={text}: the {what} has {len(value)} characters, the {what}s of this task at most {most}"
                )
        return question

    def solve(self, question: str) -> str:
        """The right answer to a question that ``read`` has returned."""
        return self._solve([question])[0]

    def same(self, question: str) -> Any:
        """Equal for questions that count as one: the part's ``same``, or the text itself."""
        return self._keys([question])[0]

    def _drawn(self, n: int, rng: np.random.Generator) -> list[str]:
        what = f"draw(rng, {n})"
        try:
            # An endless generator is no mistake, so only as many as asked for are taken.
            questions = self._texts(self._task.draw(rng, n), what, n)
        except SeqaddError:
            raise
        except Exception as error:
            raise self._raised(what, error) from error
        if len(questions) < n:
            raise self._error(f"{what} returns {len(questions)} questions; it must return {n}, which may repeat")
        self._check_characters(questions, what)
        longest = self.room()[0]
        if len(too_long := max(questions, key=len)) > longest:
            raise self._error(
                f"{what} returns {_shown(too_long)}, {len(too_long)} characters; those of roomiest() have at most "
                f"{longest}: roomiest() must return the questions that need the most"
            )
        if "" in questions:
            raise self._error(f"{what} returns an empty question; a question must have a character")
        return questions

    def _keys(self, questions: Sequence[str]) -> Sequence[Any]:
        if not hasattr(self._task, "same"):
            return questions
        keys = self._calls("same", questions)
        for question, key in zip(questions, keys, strict=True):
            try:
                hash(key)
            except TypeError as error:
                raise self._error(
                    f"same({_shown(question)}) returns a {type(key).__name__}; it must be a text, a number or a tuple "
                    "of them"
                ) from error
        return keys

    def _solve(self, questions: Sequence[str]) -> list[str]:
        answers = self._calls("solve", questions)
        self._check_answers(questions, answers)
        return answers

    def _check_answers(self, questions: Sequence[str], answers: Sequence[Any]) -> None:
        known = set(self._characters)
        for question, answer in zip(questions, answers, strict=True):
            if not isinstance(answer, str):
                raise self._error(f"solve({_shown(question)}) returns {_shown(answer)}; it must return a text")
            if not known.issuperset(answer):
                self._check_characters([answer], f"solve({_shown(question)})")

    def _numbers(self, question: str, found: Any) -> dict[str, int]:
        try:
            numbers = {name: operator.index(number) for name, number in found.items()}
            good = (
                all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in numbers) and min(numbers.values(), default=0) >= 0
            )
        except (AttributeError, TypeError):
            numbers, good = {}, False
        if not good:
            raise self._error(
                f"groups({_shown(question)}) returns {_shown(found)}; it must return integers of at least 0, by names "
                "of small letters, digits and _"
            )
        return numbers

    def _check_characters(self, texts: Sequence[str], what: str) -> None:
        known = set(self._characters)
        for strange in sorted(set("".join(texts)) - known):
            text = next(text for text in texts if strange in text)
            raise self._error(f"{what} returns {_shown(text)}; characters={self._characters!r} lacks {strange!r}")

    def _texts(self, found: Any, what: str, most: int | None = None) -> list[str]:
        texts = (
            None if isinstance(found, str) or not isinstance(found, Iterable) else list(itertools.islice(found, most))
        )
        if texts is None:
            raise self._error(f"{what} returns {_shown(found)}; it must return texts")
        for text in texts:
            if not isinstance(text, str):
                raise self._error(f"{what} returns {_shown(text)} among its texts; it must return texts only")
        return texts

    def _write(self, texts: Sequence[str], length: int) -> Ids:
        ids = Vocabulary(self.alphabet).encode([text.ljust(length) for text in texts])
        return ids if len(texts) else np.zeros((0, length), np.uint8)

    def _call(self, name: str) -> Any:
        try:
            return getattr(self._task, name)()
        except Exception as error:
            raise self._raised(f"{name}()", error) from error

    def _calls(self, name: str, questions: Sequence[str]) -> list[Any]:
        """Returns what a method of the part returns for each question."""
        method, results, question = getattr(self._task, name), [], ""
        try:
            for question in questions:
                results.append(method(question))
        except SeqaddError:
            raise
        except Exception as error:
            raise self._raised(f"{name}({_shown(question)})", error) from error
        return results

    def _raised(self, what: str, error: Exception) -> ConfigError:
        return self._error(f"{what} raises {type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _error(self, what: str) -> ConfigError:
        return ConfigError(f"{self._where}: {what}")


def signs(alphabet: str) -> str:
    """The characters around which blanks may be typed: neither letters nor digits."""
    return "".join(character for character in alphabet if not character.isalnum() and character != " ")


def without_blanks(text: str, alphabet: str) -> str:
    """A typed question without blanks at its ends and around its signs: ``12 - 345`` is ``12-345``."""
    around = "".join(map(re.escape, signs(alphabet)))
    return re.sub(rf"\s*([{around}])\s*", r"\1", text.strip()) if around else text.strip()


def _as_items(texts: list[str]) -> Items:
    items = np.empty(len(texts), dtype=object)
    items[:] = texts
    return items


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
