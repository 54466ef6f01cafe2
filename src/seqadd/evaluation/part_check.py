"""Checks own parts before anything is trained: builds the model once, and holds it against a few random questions.

Each check looks for a mistake that training would hide: it would end well, with numbers of another model than the part
describes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seqadd.config.parts import Measured, Part
from seqadd.config.schema import Config
from seqadd.data.drawing import Dataset
from seqadd.errors import ConfigError
from seqadd.models import architectures
from seqadd.models.parts import error_in
from seqadd.models.protocol import AnswerModel
from seqadd.models.self_reading import shift_right
from seqadd.training.dataset import make_dataset
from seqadd.training.metric_names import METRICS
from seqadd.training.state import seed_layers

#: Questions that the model is held against, and held-out ones, which are not used.
_QUESTIONS, _HELD_OUT = 4, 4
#: Differences between equal numbers that are computed in different batches; probabilities are in 0..1.
_ROUNDING = 1e-4


def check_parts(config: Config) -> Measured:
    """Checks the own parts of a configuration, and measures the model.

    Returns:
        The model's size.

    Raises:
        ConfigError: in one line that begins with file and line of the part, ``mgu.py:25: cell=mgu: ...``.
    """
    part = next((config.parts[kind] for kind in ("architecture", "cell", "task") if kind in config.parts), None)
    assert part is not None, "only configurations with own parts are checked"
    data = _few(config)
    _check_curve(config, data)
    with _variables_made() as made:
        model = _build(part, config, data)
    questions = tf.one_hot(data.train_questions, _characters(model))
    answers = tf.constant(data.train_answers, tf.int32)
    try:
        for check in _CHECKS:
            check(part, model, questions, answers)
        _check_every_weight_is_the_models(part, model, made)
    except ConfigError:
        raise
    except Exception as error:
        raise error_in(part, error) from error
    return _measure(model, questions, answers)


def _few(config: Config) -> Dataset:
    """A data set of a few questions of the configured task; for an own task the whole data set is drawn before."""
    if config.part("task") is not None:
        make_dataset(config)
    task = dataclasses.replace(config.task, n_questions=_QUESTIONS + _HELD_OUT, held_out=0.5)
    return make_dataset(dataclasses.replace(config, task=task, curriculum=None))


def _check_curve(config: Config, data: Dataset) -> None:
    """Refuses the metric of a task that none of its runs records."""
    task = config.part("task")
    if task is None or (curve := task.settings["curve"]) in METRICS:
        return
    last, groups = data.train_answers.shape[1], sorted(data.val_groups)
    position = re.fullmatch(r"val_acc_position_(\d+)", curve)
    group = re.fullmatch(r"val_exact_match_(\w+)_\d+", curve)
    if not (position and 1 <= int(position[1]) <= last) and not (group and group[1] in groups):
        others = [f"val_acc_position_1 to {last}", *(f"val_exact_match_{name}_N" for name in groups)]
        raise ConfigError(
            f"{task.where}: curve={curve!r}: no run records it; must be one of {', '.join([*METRICS, *others])}"
        )


def _build(part: Part, config: Config, data: Dataset) -> AnswerModel:
    try:
        return architectures.build_model(
            config,
            question_length=data.train_questions.shape[1],
            answer_length=data.train_answers.shape[1],
            n_characters=len(data.alphabet),
        )
    except ConfigError:
        raise
    except Exception as error:  # Keras and TensorFlow raise many kinds of errors in a part's code
        raise error_in(part, error) from error


def _characters(model: AnswerModel) -> int:
    return int(model.inputs[0].shape[2])


@contextmanager
def _variables_made() -> Iterator[list[tf.Variable]]:
    """A context manager that returns the list of all variables that are made inside the ``with``."""
    made: list[tf.Variable] = []

    def keep(next_creator: Callable[..., tf.Variable], **settings: Any) -> tf.Variable:
        made.append(next_creator(**settings))
        return made[-1]

    with tf.variable_creator_scope(keep):
        yield made


def _check_shape(part: Part, model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor) -> None:
    probabilities = model.training_forward(questions, answers, training=False)
    wanted = (*answers.shape, _characters(model))
    if tuple(probabilities.shape) != wanted:
        raise ConfigError(f"{part.where}: gives outputs of shape {tuple(probabilities.shape)}; they must be {wanted}")
    if not np.isfinite(probabilities).all():
        raise ConfigError(
            f"{part.where}: its outputs with the first weights are not finite; look for a division by 0, or a "
            "logarithm or root of a negative number"
        )


def _check_gradients(part: Part, model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor) -> None:
    with tf.GradientTape() as tape:
        probabilities = model.training_forward(questions, answers, training=True)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(answers, probabilities))
    gradients = tape.gradient(loss, model.trainable_variables)
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        if gradient is None:
            raise ConfigError(
                f"{part.where}: its weight {weight.path}, shape {tuple(weight.shape)}, has no gradient, so it would "
                "never be trained; use it in call, or make it with trainable=False"
            )
        if not np.isfinite(tf.convert_to_tensor(gradient)).all():
            raise ConfigError(f"{part.where}: the gradient of its weight {weight.path} is not finite")


def _check_no_losses(part: Part, model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor) -> None:
    model.training_forward(questions, answers, training=True)
    if model.losses:
        raise ConfigError(
            f"{part.where}: adds {len(model.losses)} losses (add_loss or a regularizer), which the training would "
            "ignore: the loss is the cross-entropy alone; leave them out"
        )


def _check_rows_are_independent(part: Part, model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor) -> None:
    together = model.training_forward(questions, answers, training=False)
    alone = model.training_forward(questions[:1], answers[:1], training=False)
    if not _equal(together[:1], alone):
        raise ConfigError(
            f"{part.where}: its answer to a question depends on the other questions of the batch; look for an "
            "operation over axis 0"
        )


def _check_causal(part: Part, model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor) -> None:
    """Refuses a model that reads the character that it is asked for: its loss would be wonderful, and mean nothing."""
    if not model.reads_answer:
        return
    first = model.get_weights()
    random = np.random.default_rng(0)
    # With its first weights a path can be closed, as behind a scale of 0.
    model.set_weights([random.normal(0.0, 0.5, weight.shape).astype(weight.dtype) for weight in first])
    try:
        _check_that_later_characters_change_nothing(part, model, questions, answers)
    finally:
        model.set_weights(first)


def _check_that_later_characters_change_nothing(
    part: Part, model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor
) -> None:
    previous = shift_right(answers, _characters(model))
    right = model([questions, previous], training=False)
    for position in range(int(answers.shape[1]) - 1):
        others = tf.concat([previous[:, : position + 1], tf.roll(previous[:, position + 1 :], 1, axis=2)], axis=1)
        changed = model([questions, others], training=False)
        if not _equal(right[:, : position + 1], changed[:, : position + 1]):
            raise ConfigError(
                f"{part.where}: its output for character {position + 1} of the answer depends on characters that come "
                "after it, which it must predict; mask them, for example with use_causal_mask=True"
            )


def _check_random_numbers(part: Part, model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor) -> None:
    outputs = []
    for _ in range(2):
        seed_layers(model, seed=0, epoch=1)
        outputs.append(model.training_forward(questions, answers, training=True))
    if not np.array_equal(outputs[0], outputs[1], equal_nan=True):
        raise ConfigError(
            f"{part.where}: draws random numbers that do not follow from the run's seed; give keras.random a "
            "keras.random.SeedGenerator that is an attribute of the layer"
        )


def _check_every_weight_is_the_models(part: Part, model: AnswerModel, made: list[tf.Variable]) -> None:
    ours = {id(variable.value) for variable in model.variables}
    for variable in made:
        if id(variable) not in ours:
            name, shape = variable.name.partition(":")[0], tuple(variable.shape)
            raise ConfigError(
                f"{part.where}: its weight {name}, shape {shape}, is not the model's: Keras leaves out a layer that is "
                "called on a constant; let its input depend on the question"
            )


def _check_no_statistics(part: Part, model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor) -> None:
    """Refuses batch statistics: rows that pad the last batch, and do not count, would enter them."""
    before = [np.array(weight) for weight in model.non_trainable_weights]
    model.training_forward(questions, answers, training=True)
    for weight, value in zip(model.non_trainable_weights, before, strict=True):
        if not np.array_equal(np.array(weight), value):
            raise ConfigError(
                f"{part.where}: training changes its weight {weight.path} without a gradient, as batch normalization "
                "does; use layer normalization"
            )


def _equal(one: tf.Tensor, other: tf.Tensor) -> bool:
    return bool(np.max(np.abs(np.asarray(one) - np.asarray(other)), initial=0.0) <= _ROUNDING)


_CHECKS = (
    _check_shape,
    _check_no_losses,
    _check_gradients,
    _check_random_numbers,
    _check_rows_are_independent,
    _check_causal,
    _check_no_statistics,
)


def _measure(model: AnswerModel, questions: tf.Tensor, answers: tf.Tensor) -> Measured:
    """Counts the parameters, and the multiplications and activations of one question's forward pass."""
    one, right = questions[:1], answers[:1]
    step = tf.function(lambda: model.training_forward(one, right, training=True)).get_concrete_function()
    sizes = [
        output.shape.num_elements() or 0
        for operation in step.graph.get_operations()
        for output in operation.outputs
        if output.shape.rank is not None and output.dtype.is_floating
    ]
    return Measured(
        parameters=int(sum(np.prod(weight.shape) for weight in model.trainable_variables)),
        activations=sum(sizes),
        largest=max(sizes, default=0),
        multiplications=_multiplications(step),
    )


def _multiplications(function: Any) -> float:
    """Half the floating-point operations of a traced function, as TensorFlow counts them."""
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build()
    return float(profiler.profile(function.graph, options=options).total_float_ops) / 2
