"""The training loop: loss, optimizer and epochs. Records nothing.

A whole epoch, the loop over the batches included, is one compiled program: at these sizes a TensorFlow call for each
batch would cost noticeable time.
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from seqadd.config.messages import one_line
from seqadd.config.schema import Config
from seqadd.data import curriculum
from seqadd.data.drawing import Dataset
from seqadd.data.vocabulary import Ids
from seqadd.errors import TrainingDiverged
from seqadd.models.protocol import AnswerModel
from seqadd.models.self_reading import until_eos_mask
from seqadd.system.signals import defer_signals
from seqadd.training import metrics
from seqadd.training.schedule import rows_of_epoch, teacher_forcing_mask
from seqadd.training.state import seed_layers

#: Loss functions of (one-hot answers, probabilities), both (batch, answer_length, characters), averaged over both.
LOSSES: dict[str, Callable[..., keras.losses.Loss]] = {
    "categorical": keras.losses.CategoricalCrossentropy,
    "binary": keras.losses.BinaryCrossentropy,
}


def make_optimizer(model: AnswerModel, config: Config) -> keras.optimizers.Optimizer:
    """Adam as in the article, with its state for the model's weights already built; serves one training only."""
    optimizer = keras.optimizers.Adam(config.learning_rate)  # epsilon 1e-7, in Keras 2.2 as in Keras 3
    optimizer.build(model.trainable_variables)
    return optimizer


def train(
    model: AnswerModel,
    optimizer: keras.optimizers.Optimizer,
    data: Dataset,
    config: Config,
    history: list[dict[str, float]],
    *,
    warn: Callable[[str], None] = warnings.warn,
) -> Iterator[dict[str, float]]:
    """Trains up to epoch ``config.epochs``; after each epoch yields its metrics, and its ``epoch``, from 1.

    The metrics, as Keras reports them: ``loss`` and ``acc`` are means over the epoch while the weights change.
    These are measured at its end: ``val_loss``, ``val_acc``, ``val_exact_match``, ``val_acc_position_N`` for each
    character of the answer, from 1, in the order in which the model writes them, and ``val_exact_match_GROUP_N`` for
    each number of each group of the task in the held-out questions: for sums ``carries``, and ``digits`` of the longer
    addend, in the longer sums that are only tested too. The binary loss adds ``binary_accuracy`` and
    ``val_binary_accuracy``. ``epoch_seconds`` is the wall time of training and validation.

    A model that reads its own answers is trained with the teacher forcing that ``teacher_forcing`` sets; ``loss`` and
    ``acc`` are measured under it. ``val_loss``, ``val_acc_teacher_forced`` and ``val_binary_accuracy`` use full teacher
    forcing, all other ``val_`` metrics greedy decoding.

    Args:
        model: the model, changed in place.
        optimizer: its optimizer, changed in place.
        data: the questions to train on and to validate with.
        config: the configuration of the run.
        history: metrics of the epochs that model and optimizer were already trained for; each new epoch is appended.
            Model, optimizer and history are consistent whenever Interrupted can be raised.
        warn: called with a message if XLA cannot compile the model, which is then trained without XLA.

    Raises:
        TrainingDiverged: if a loss is NaN or infinite.
    """
    run_epoch = epoch_program(model, optimizer, data, config)
    evaluate = evaluation_program(model, config)
    first = len(history) + 1
    for epoch in range(first, config.epochs + 1):
        start = time.perf_counter()
        with defer_signals():  # an asynchronous exception inside TensorFlow or numpy surfaces as a different error
            rows = rows_of_epoch(config, data, history, epoch)
            seed_layers(model, config.seed, epoch)
            try:
                measured = run_epoch(rows, epoch)
            except tf.errors.OpError as error:
                out_of_memory = isinstance(error, tf.errors.ResourceExhaustedError)
                if not config.jit or epoch > first or out_of_memory:
                    raise
                # No step has run yet: XLA compiles the whole program when it is first called.
                warn(f"XLA cannot compile this model; the run goes on without XLA: {one_line(error)[:200]}")
                config = dataclasses.replace(config, jit=False)
                run_epoch = epoch_program(model, optimizer, data, config)
                evaluate = evaluation_program(model, config)
                measured = run_epoch(rows, epoch)
            measured |= evaluate(data)
            for name in ("loss", "val_loss"):
                if not np.isfinite(measured[name]):
                    raise TrainingDiverged(
                        f"{name} is {measured[name]} after epoch {epoch}; lower learning_rate={config.learning_rate}"
                    )
            history.append({"epoch": epoch, **measured, "epoch_seconds": time.perf_counter() - start})
        yield history[-1]


def epoch_program(
    model: AnswerModel, optimizer: keras.optimizers.Optimizer, data: Dataset, config: Config
) -> Callable[[curriculum.Rows, int], dict[str, float]]:
    """A function that trains one epoch: (its rows, shape ``(n_train,)``, its number) -> mean ``loss`` and ``acc``."""
    questions = tf.constant(data.train_questions, tf.int32)
    answers = tf.constant(data.train_answers, tf.int32)
    n_train = len(data.train_questions)
    answer_length, n_characters = data.train_answers.shape[1], len(data.alphabet)
    batch_size = config.batch_size
    n_batches = math.ceil(n_train / batch_size)
    measures_of = _measures(config)
    always_forced = config.teacher_forcing in (None, "always")

    def train_batch(rows: tf.Tensor, counts: tf.Tensor, forced: tf.Tensor | None) -> tf.Tensor:
        """One step of the optimizer; returns the measures, summed over the rows whose ``counts`` is 1 and not 0."""
        x, ids = tf.one_hot(tf.gather(questions, rows), n_characters), tf.gather(answers, rows)
        with tf.GradientTape() as tape:
            sums = tf.linalg.matvec(
                measures_of(ids, model.training_forward(x, ids, training=True, forced=forced)), counts
            )
            # The first measure, divided by the number of rows, or characters, that count; see _measures.
            loss = sums[0] / (sums[-1] if config.ends_with_eos else tf.reduce_sum(counts))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return sums

    @tf.function(
        jit_compile=config.jit,
        input_signature=[
            tf.TensorSpec((n_train,), tf.int32),
            *([] if always_forced else [tf.TensorSpec((n_batches * batch_size, answer_length), tf.bool)]),
        ],
    )
    def program(order: tf.Tensor, *forced: tf.Tensor) -> tf.Tensor:
        # The last batch is padded with rows that do not count, because a second program for a smaller batch would take
        # as long to compile as the first. As in Keras it is a separate step, with the mean over its real rows.
        order = tf.pad(order, [[0, n_batches * batch_size - n_train]])
        sums = tf.zeros(len(_names(config)) + config.ends_with_eos)
        for i in tf.range(n_batches):
            at = i * batch_size + tf.range(batch_size)
            forced_here = None if always_forced else tf.gather(forced[0], at)
            sums += train_batch(tf.gather(order, at), tf.cast(at < n_train, tf.float32), forced_here)
        return sums

    def run_epoch(rows: curriculum.Rows, epoch: int) -> dict[str, float]:
        size = n_batches * batch_size, answer_length
        forced = [] if always_forced else [tf.constant(teacher_forcing_mask(config, epoch, size))]
        return _means(config, program(tf.constant(rows), *forced), n_train)

    return run_epoch


def evaluation_program(model: AnswerModel, config: Config) -> Callable[[Dataset], dict[str, float]]:
    """Returns a function that measures the held-out questions: all metrics of ``train`` that begin with ``val_``.

    A new metric of each epoch is added here, and to ``metric_names``.
    """
    measures_of, n_characters = _measures(config), len(config.alphabet)

    @tf.function(jit_compile=config.jit)
    def program(questions: tf.Tensor, answers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.one_hot(questions, n_characters)
        probabilities = model.training_forward(x, answers, training=False)
        guessed = model.greedy_decode(x) if model.reads_answer else probabilities
        predicted = tf.argmax(guessed, axis=-1, output_type=tf.int32)
        return predicted, tf.reduce_sum(measures_of(answers, probabilities), axis=1)

    @tf.function(jit_compile=config.jit)
    def guess(questions: tf.Tensor) -> tf.Tensor:
        x = tf.one_hot(questions, n_characters)
        return tf.argmax(model.greedy_decode(x), axis=-1, output_type=tf.int32)

    def evaluate(data: Dataset) -> dict[str, float]:
        answers = data.val_answers
        predicted, sums = program(tf.constant(data.val_questions, tf.int32), tf.constant(answers, tf.int32))
        guesses: Ids = predicted.numpy()
        counts = until_eos_mask(answers).numpy() > 0.5 if config.ends_with_eos else None
        by_position = metrics.accuracy_by_position(guesses, answers, counts)
        by_group = {name: metrics.exact_match_by(of, guesses, answers) for name, of in data.val_groups.items()}
        if len(data.longer_digits):
            longer: Ids = guess(tf.constant(data.longer_questions, tf.int32)).numpy()
            by_group["digits"] |= metrics.exact_match_by(data.longer_digits, longer, data.longer_answers)
        teacher_forced = _means(config, sums, len(answers))
        return {
            **{f"val_{name}": value for name, value in teacher_forced.items()},
            **({"val_acc_teacher_forced": teacher_forced["acc"]} if config.ends_with_eos else {}),
            "val_acc": metrics.character_accuracy(guesses, answers, counts),
            "val_exact_match": metrics.exact_match(guesses, answers),
            **{f"val_acc_position_{n}": value for n, value in by_position.items()},
            **{f"val_exact_match_{name}_{n}": value for name, by in by_group.items() for n, value in by.items()},
        }

    return evaluate


def _names(config: Config) -> list[str]:
    """The names of the measures, in the order of ``_measures``."""
    return ["loss", "acc"] + (["binary_accuracy"] if config.loss == "binary" else [])


def _measures(config: Config) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A function: answers (ids) and probabilities of a batch -> each measure for each row, ``(measures, batch)``.

    A measure is a mean over the characters of an answer, padding included, as in the article. With
    ``config.ends_with_eos`` it is a sum over the characters up to and including the blank that ends the answer, and the
    number of these characters is added as the last measure.
    """
    loss_of, n_characters = LOSSES[config.loss](reduction="none"), len(config.alphabet)

    def measures_of(ids: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        y = tf.one_hot(ids, n_characters)
        right = tf.equal(tf.argmax(probabilities, axis=-1, output_type=tf.int32), ids)
        measures = [loss_of(y, probabilities), tf.cast(right, tf.float32)]
        if config.loss == "binary":
            # Keras 2.2 called this acc under the binary loss: the share of the outputs on the correct side of 0.5.
            right_side = tf.equal(tf.cast(probabilities > 0.5, tf.float32), y)
            measures.append(tf.reduce_mean(tf.cast(right_side, tf.float32), axis=-1))
        each = tf.stack(measures)
        if config.ends_with_eos:
            counts = until_eos_mask(ids)
            return tf.concat([tf.reduce_sum(each * counts, axis=-1), tf.reduce_sum(counts, axis=-1)[None]], axis=0)
        return tf.reduce_mean(each, axis=-1)

    return measures_of


def _means(config: Config, sums: tf.Tensor, n: int) -> dict[str, float]:
    """The mean of each measure over ``n`` rows, or over all characters that count, by name."""
    names, measured = _names(config), sums.numpy().astype(float)
    count = measured[-1] if config.ends_with_eos else n
    return dict(zip(names, (measured[: len(names)] / count).tolist(), strict=True))
