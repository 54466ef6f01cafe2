"""The decorators by which a file registers parts of its own: a cell, an architecture, a task.

They keep what they decorate and return it unchanged. Names, keys and settings are read from the file's syntax tree
(``config.parts``), not from here: the file runs only in processes that train or look inside.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from seqadd.errors import ConfigError

T = TypeVar("T", bound=Callable[..., Any])

#: The kinds of parts; each is the name of its decorator.
KINDS = ("cell", "architecture", "task")

#: What files have registered in this process, by kind and name.
REGISTERED: dict[tuple[str, str], Any] = {}


@dataclass(frozen=True)
class Range:
    """The range of a key's values, ends included."""

    low: float
    high: float


def within(low: float, high: float) -> Range:
    """Gives a key of a part its range, ends included.

    Args:
        low: the least value.
        high: the greatest value.

    Returns:
        The range, for ``typing.Annotated``.

    Example:
        >>> from typing import Annotated
        >>> leak: Annotated[float, within(0, 1)] = 0.1
        >>> within(0, 1)
        Range(low=0, high=1)
    """
    return Range(low, high)


def cell(name: str) -> Callable[[T], T]:
    """Registers a Keras RNN cell under ``cell=NAME``.

    The class has ``units`` as the first parameter of its constructor, ``state_size``, ``build(shape)`` and
    ``call(inputs, states) -> (output, states)``; inputs are ``(batch, features)``, states a list of arrays
    ``(batch, state_size)``. Keyword-only parameters of the constructor with a type and a default are keys,
    ``NAME.KEY``. A parameter ``recurrent_activation`` gets the gates' activation of the configured ``era``.

    Args:
        name: a literal.

    Returns:
        A decorator, which returns the class as it is.

    Source: ``keras.layers.RNN`` takes the same cells.

    Example:
        >>> @cell("forgetful")
        ... class Forgetful:  # a real one is a keras.layers.Layer, with weights
        ...     def __init__(self, units):
        ...         self.units = self.state_size = units
        ...     def call(self, inputs, states):
        ...         return inputs[:, : self.units], [states[0]]
    """
    return _register("cell", name)


def architecture(name: str, *, cell: str | None = "lstm", reads_answer: bool = False) -> Callable[[T], T]:
    """Registers a function of symbols under ``architecture=NAME``.

    ``function(question, answer_length, cell, *, keys) -> features``: ``question`` is one-hot, ``(batch,
    question_length, characters)``; features are ``(batch, answer_length, n)``. The program adds a dense layer and the
    softmax over the task's characters. ``cell(units, **settings)`` makes a recurrent layer of the configured cell, as
    ``keras.layers.RNN`` takes settings.

    Args:
        name: a literal.
        cell: default of the key ``cell``; None if the architecture has no cell. Then the function has no such
            parameter.
        reads_answer: whether the function is ``(question, previous, [cell,] *, keys)`` and reads the characters that
            precede each character of the answer, one-hot ``(batch, answer_length, characters)``. Its output at a
            position must not depend on later ones.

    Returns:
        A decorator, which returns the function as it is.

    Example:
        >>> @architecture("flat", cell=None)
        ... def flat(question, answer_length, *, width: int = 64):
        ...     import keras
        ...
        ...     x = keras.layers.Dense(width, activation="relu")(keras.layers.Flatten()(question))
        ...     return keras.layers.RepeatVector(answer_length)(x)
    """
    return _register("architecture", name)


def task(name: str, *, characters: str, curve: str = "val_exact_match") -> Callable[[T], T]:
    """Registers a class under ``task=NAME``; its annotated fields with defaults are keys, ``NAME.KEY``.

    The class has ``draw(rng, n)``, n questions, which may repeat; ``solve(question)``, the answer, or ValueError for a
    text that is no question; ``roomiest()``, questions that need the most room on either side. Optional are
    ``same(question)``, equal for questions that count once, and ``groups(question)``, numbers by name, for which
    accuracies are recorded separately.

    Args:
        name: a literal.
        characters: of questions and answers, without the blank, at most 63.
        curve: the metric that tables and figures show first.

    Returns:
        A decorator, which returns the class as it is.

    Example:
        >>> @task("echo", characters="ab")
        ... class Echo:
        ...     longest: int = 3
        ...     def draw(self, rng, n):
        ...         return ["".join(rng.choice(["a", "b"], size=self.longest)) for _ in range(n)]
        ...     def solve(self, question):
        ...         return question
        ...     def roomiest(self):
        ...         return ("a" * self.longest,)
    """
    return _register("task", name)


def _register(kind: str, name: str) -> Callable[[T], T]:
    def register(decorated: T) -> T:
        if decorated.__module__ == "__main__" and hasattr(builtins, "get_ipython"):
            raise ConfigError(
                f"{kind}={name}: is defined in a notebook's cell, where no other process can load it; begin the "
                f"cell with %%writefile {name}.py and name that file: code='{name}.py'"
            )
        REGISTERED[kind, name] = decorated
        return decorated

    return register
