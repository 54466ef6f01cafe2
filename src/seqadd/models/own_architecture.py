"""An own architecture: a function of symbols to features becomes a model that answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from seqadd.config.parts import Part
from seqadd.config.schema import Config
from seqadd.errors import ConfigError
from seqadd.models import shown
from seqadd.models.cells import cell_of, character_layers
from seqadd.models.parts import error_in, load_part
from seqadd.models.protocol import AnswerModel
from seqadd.models.self_reading import SelfReadingModel, blanks, most_probable, shift_right


class Prefixes(NamedTuple):
    """The questions, and the states before the first step.

    Attributes:
        states: the characters read so far, one-hot, ``(batch, answer_length, characters)``, zero where none was read
            yet; and the position of the next one, one-hot, ``(batch, answer_length)``.
        questions: one-hot, ``(batch, question_length, characters)``.
    """

    states: list[tf.Tensor]
    questions: tf.Tensor


class PrefixModel(SelfReadingModel):
    """An own architecture that reads its answer: each step runs the whole model on a longer beginning of the answer."""

    def encode(self, questions: tf.Tensor) -> Prefixes:
        """See ``SelfReadingModel``."""
        n = tf.shape(questions)[0]
        nothing = tf.zeros((n, self.answer_length, self.n_characters), questions.dtype)
        first = tf.one_hot(tf.zeros([n], tf.int32), self.answer_length, dtype=questions.dtype)
        return Prefixes([nothing, first], questions)

    def step(self, read: tf.Tensor, states: list[tf.Tensor], encoded: Prefixes, barrier: Any = lambda x: x) -> Any:
        """See ``SelfReadingModel``."""
        previous, at = states
        previous = previous + at[:, :, None] * read[:, None, :]
        each = self([encoded.questions, previous], training=False)
        return tf.reduce_sum(at[:, :, None] * each, axis=1), [previous, tf.roll(at, 1, axis=1)]

    def scheduled_sampling_forward(self, questions: tf.Tensor, answers: tf.Tensor, forced: tf.Tensor) -> tf.Tensor:
        """See ``SelfReadingModel``; the gradient passes through one run of the model, on what was read in the end."""
        questions = tf.cast(questions, self.step_dtype)
        encoded = self.encode(questions)
        states, said = encoded.states, blanks(questions)
        for at, right in enumerate(tf.unstack(shift_right(answers, self.n_characters), axis=1)):
            probabilities, states = self.step(tf.where(forced[:, at, None], right, said), states, encoded)
            said = most_probable(probabilities)
        return self([questions, tf.stop_gradient(states[0])], training=True)


def build_own_architecture(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """Builds the model of an own architecture: its function, then a dense layer and the softmax over the alphabet.

    Raises:
        ConfigError: in one line, if the function fails or returns anything but features of each character.
    """
    part = config.part("architecture")
    assert part is not None
    function = load_part(part)
    reads_answer = bool(part.settings.get("reads_answer"))
    question = keras.Input((question_length, n_characters), name="question")
    previous = keras.Input((answer_length, n_characters), name="previous")
    arguments: list[Any] = [question, previous if reads_answer else answer_length]
    if config.cell is not None:
        arguments.append(_named_layers(config.cell, cell_of(config)))
    with shown.collect() as symbols:
        features = _features(part, function, arguments, answer_length)
    x = features
    for layer in character_layers(n_characters):
        x = layer(x)
    kind = PrefixModel if reads_answer else AnswerModel
    model = kind([question, previous] if reads_answer else question, x, name=part.name)
    #: For ``inspect``: the symbols that the function has shown.
    model.shown = [each for each in symbols if isinstance(each.value, keras.KerasTensor)]
    return model


def _features(part: Part, function: Callable[..., Any], arguments: list[Any], answer_length: int) -> Any:
    try:
        features = function(*arguments, **part.values)
    except ConfigError:
        raise
    except Exception as error:
        raise error_in(part, error) from error
    if not isinstance(features, keras.KerasTensor):
        raise ConfigError(
            f"{part.where}: returns {type(features).__name__}; it must return the features, a Keras tensor"
        )
    shape = tuple(features.shape)
    if len(shape) != 3 or shape[1] != answer_length or shape[2] is None:
        raise ConfigError(
            f"{part.where}: returns features of shape {shape}; it must be (None, {answer_length}, n): one vector for "
            "each character of the answer"
        )
    return features


def _named_layers(cell: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """The function that an own architecture makes recurrent layers with; they are named as in the article."""
    made: list[Any] = []

    def layer(units: int, **settings: Any) -> Any:
        settings = {"return_sequences": False, "name": f"{cell}_{len(made) + 1}", **settings}
        made.append(make(units, **settings))
        return made[-1]

    return layer
