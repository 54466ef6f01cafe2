"""Trains a model: loss, optimizer, the order of each epoch, one epoch after the other. Records nothing.

A whole epoch is one compiled program, loop over the batches included: at these sizes calling TensorFlow once a
batch costs as much as the arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from seqadd import alphabet, metrics
from seqadd.addition import Dataset
from seqadd.alphabet import Ids
from seqadd.config import Config

#: Loss functions of (one-hot answers, probabilities), both of shape (batch, answer_length, 12), averaged over both.
LOSSES: dict[str, Callable[[], keras.losses.Loss]] = {
    "categorical": keras.losses.CategoricalCrossentropy,
    "binary": keras.losses.BinaryCrossentropy,
}

N_CHARACTERS = len(alphabet.CHARACTERS)


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number, so no later epoch can mean anything."""


def use_threads(threads: int) -> None:
    """Limits TensorFlow to so many threads; must come before its first computation in the process.

    Raises:
        RuntimeError: when TensorFlow has computed already, with another number of threads.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def epoch_order(seed: int, epoch: int, n: int) -> npt.NDArray[np.int32]:
    """The order in which epoch ``epoch`` (from 1) goes over ``n`` sums; follows from seed and epoch alone.

    New in every epoch. (Keras 3's seeded ``fit`` on arrays repeats one permutation, which changes the results.)
    """
    return np.random.default_rng((seed, epoch)).permutation(n).astype(np.int32)


def train(model: keras.Model, data: Dataset, config: Config) -> Iterator[tuple[int, dict[str, float]]]:
    """Trains epoch by epoch and yields ``(epoch, metrics)`` after each, epochs counted from 1.

    The metrics, as Keras reports them: ``loss`` and ``acc`` are means over the epoch while the weights change;
    ``val_loss``, ``val_acc`` and ``val_exact_match`` are taken at its end. Under the binary loss
    ``binary_accuracy`` and ``val_binary_accuracy`` stand beside them. ``epoch_seconds`` is the wall time of both.

    Raises:
        TrainingDiverged: when a loss is NaN or infinite.
    """
    train_epoch = _epoch_program(model, data, config)
    evaluate = _evaluation_program(model, config)
    n_train = len(data.train_questions)
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        order = tf.constant(epoch_order(config.seed, epoch, n_train))
        of_training = {name: float(value) for name, value in train_epoch(order).items()}
        predicted, of_validation = evaluate(data.val_questions, data.val_answers)
        measured = {
            "loss": of_training["loss"],
            "acc": of_training["acc"],
            "val_loss": of_validation["loss"],
            "val_acc": metrics.character_accuracy(predicted, data.val_answers),
            "val_exact_match": metrics.exact_match(predicted, data.val_answers),
        }
        if config.loss == "binary":
            measured["binary_accuracy"] = of_training["binary_accuracy"]
            measured["val_binary_accuracy"] = of_validation["binary_accuracy"]
        for name in ("loss", "val_loss"):
            if not np.isfinite(measured[name]):
                raise TrainingDiverged(
                    f"{name} is {measured[name]} after epoch {epoch}; lower learning_rate={config.learning_rate}"
                )
        measured["epoch_seconds"] = time.perf_counter() - start
        yield epoch, measured


def _epoch_program(model: keras.Model, data: Dataset, config: Config) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A compiled function: the order of an epoch, shape ``(n_train,)`` -> the epoch's mean loss and accuracies."""
    questions = tf.constant(data.train_questions, tf.int32)
    answers = tf.constant(data.train_answers, tf.int32)
    n_train = len(data.train_questions)
    batch_size = config.batch_size
    n_full, n_rest = divmod(n_train, batch_size)
    loss_of = LOSSES[config.loss]()
    optimizer = keras.optimizers.Adam(config.learning_rate)  # epsilon 1e-7, in Keras 2.2 as in Keras 3
    optimizer.build(model.trainable_variables)

    def train_batch(rows: tf.Tensor) -> tf.Tensor:
        """One optimizer step; returns sums over the batch's rows of loss, accuracy and binary accuracy."""
        x = tf.one_hot(tf.gather(questions, rows), N_CHARACTERS)
        y = tf.one_hot(tf.gather(answers, rows), N_CHARACTERS)
        with tf.GradientTape() as tape:
            probabilities = model(x, training=True)
            loss = loss_of(y, probabilities)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        n_rows = tf.cast(tf.shape(rows)[0], tf.float32)
        return tf.stack([loss, _accuracy(y, probabilities), _binary_accuracy(y, probabilities)]) * n_rows

    @tf.function(jit_compile=config.jit, input_signature=[tf.TensorSpec((n_train,), tf.int32)])
    def epoch_program(order: tf.Tensor) -> dict[str, tf.Tensor]:
        sums = tf.zeros(3)
        for i in tf.range(n_full):
            sums += train_batch(tf.reshape(tf.slice(order, [i * batch_size], [batch_size]), [batch_size]))
        if n_rest:  # the last, smaller batch counts as a step of its own, as in Keras
            sums += train_batch(order[n_full * batch_size :])
        loss, acc, binary_accuracy = tf.unstack(sums / n_train)
        return {"loss": loss, "acc": acc, "binary_accuracy": binary_accuracy}

    return epoch_program


def _evaluation_program(model: keras.Model, config: Config) -> Callable[[Ids, Ids], tuple[Ids, dict[str, float]]]:
    """A function: questions and answers (ids) -> predicted ids, and the mean loss and binary accuracy; one call."""
    loss_of = LOSSES[config.loss]()

    @tf.function(jit_compile=config.jit)
    def program(questions: tf.Tensor, answers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        y = tf.one_hot(answers, N_CHARACTERS)
        probabilities = model(tf.one_hot(questions, N_CHARACTERS), training=False)
        predicted = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return predicted, loss_of(y, probabilities), _binary_accuracy(y, probabilities)

    def evaluate(questions: Ids, answers: Ids) -> tuple[Ids, dict[str, float]]:
        predicted, loss, binary_accuracy = program(tf.constant(questions, tf.int32), tf.constant(answers, tf.int32))
        return predicted.numpy().astype(np.uint8), {"loss": float(loss), "binary_accuracy": float(binary_accuracy)}

    return evaluate


def _accuracy(y: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Categorical accuracy over characters, padding included."""
    right = tf.equal(tf.argmax(probabilities, axis=-1), tf.argmax(y, axis=-1))
    return tf.reduce_mean(tf.cast(right, tf.float32))


def _binary_accuracy(y: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """What Keras 2.2 called ``acc`` under a binary loss: the share of the 12 outputs on the right side of 0.5."""
    right = tf.equal(tf.cast(probabilities > 0.5, tf.float32), y)
    return tf.reduce_mean(tf.cast(right, tf.float32))


def save_weights(model: keras.Model, path: Any) -> None:
    """Writes the weights alone (``.weights.h5``): a model is built from its configuration, never from a file."""
    model.save_weights(path)
