"""The trace of a question through a model: output of each layer, gates, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqadd.evaluation.questions import Question

if TYPE_CHECKING:
    import keras

    from seqadd.evaluation.predict import Array


#: Stands between the name of an attention and the number of its head, in the names of outputs.
HEAD = ", head "


@dataclass(frozen=True)
class Trace:
    """The trace of one question through one model.

    Attributes:
        question: the question.
        outputs: of each layer, by its name, without the axis of the questions: see ``activations.activations``.
        gates: of each recurrent layer, likewise: see ``inspection.gates.gates``.
        character_layers: the layers that have a value for each character.
        probabilities: of each character at each position of the answer, shape ``(answer_length, characters)``.
        ends_itself: whether the answer ends at its first blank, so that output after it has no meaning.
    """

    question: Question
    outputs: dict[str, Array]
    gates: dict[str, dict[str, Array]]
    character_layers: list[str]
    probabilities: Array
    ends_itself: bool = False

    @property
    def guess(self) -> str:
        """The model's answer as the model writes it, padding included."""
        return self.question.notation.vocabulary.decode(self.probabilities.argmax(axis=-1)[None])[0]

    @property
    def readable_guess(self) -> str:
        """The model's answer as people write it."""
        return self.question.notation.read_answers(self.probabilities.argmax(axis=-1)[None])[0]

    @property
    def summary(self) -> str:
        """Question, right answer and guess: ``617+397 = 1014: says 1004, wrong``."""
        verdict = "right" if self.right else "wrong"
        return f"{self.question.text} = {self.question.right_answer}: says {self.readable_guess or 'blanks'}, {verdict}"

    @property
    def right(self) -> bool:
        """Whether every character of the guess is right."""
        return bool((self.probabilities.argmax(axis=-1) == self.question.answer).all())


def trace(model: keras.Model, questions: Sequence[Question]) -> list[Trace]:
    """Traces questions through a model, in one batch."""
    from seqadd.evaluation import predict
    from seqadd.inspection import activations
    from seqadd.inspection.gates import gates

    ids = np.stack([each.ids for each in questions])
    outputs = activations.activations(model, ids)
    try:
        of_layers = gates(model, ids)
    except ArithmeticError:  # weights are NaN, or so large that rounding errors grow beyond the tolerance
        of_layers = {}
    probabilities = predict.probabilities(model, ids)
    last = activations.character_layers(model)
    return [
        Trace(
            each,
            {name: values[i] for name, values in outputs.items()},
            {name: {part: values[i] for part, values in parts.items()} for name, parts in of_layers.items()},
            last,
            probabilities[i],
            ends_itself=predict.reads_answer(model),
        )
        for i, each in enumerate(questions)
    ]
