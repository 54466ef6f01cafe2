"""One training: a model, its optimizer and its history, and the listeners that are called after each epoch."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seqadd.cli.progress import EpochDone, Message, Notify, Stage
from seqadd.config.schema import Config
from seqadd.data.drawing import Dataset
from seqadd.errors import CheckpointError
from seqadd.system import tensorflow_setup
from seqadd.system.signals import defer_signals
from seqadd.training.checkpoint import Checkpoint, Start
from seqadd.training.fingerprint import COMPUTES

if TYPE_CHECKING:
    from seqadd.models.protocol import AnswerModel


class Listener:
    """The callbacks of a training. An exception in one of them ends the training."""

    def on_begin(self, session: TrainingSession) -> None:
        """Called when the model has its initial weights, or those of the checkpoint that it resumes from."""

    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        """Called after each epoch; ``row`` has its metrics, and the ``epoch`` itself, from 1."""

    def on_jit_failed(self, session: TrainingSession, message: str) -> None:
        """Called if XLA cannot compile the model; training goes on without XLA."""


class TrainingSession:
    """A training, ready to run. Creating one imports TensorFlow.

    Args:
        config: the configuration of the run.
        data: the questions to train on and to validate with.
        start: where the training begins.

    Attributes:
        model: see ``models.architectures.build_model``.
        history: the metrics of the epochs so far, each with its ``epoch``, from 1.
        gpus: the names of the GPUs that TensorFlow sees, or ``none``.
        computes: the digest of what a model with own parts computes; None without own parts, and if it is unknown.
    """

    @defer_signals()
    def __init__(self, config: Config, data: Dataset, start: Start) -> None:
        self.model, self.gpus = build_first_model(config, data)
        from seqadd.training import loop, state

        self.config, self.data, self._fingerprint = config, data, dict(start.fingerprint)
        self.computes = self._fingerprint.get(COMPUTES) or what_computes(self.model, config, data)
        if self.computes is not None:
            self._fingerprint[COMPUTES] = self.computes
        self.optimizer: Any = loop.make_optimizer(self.model, config)
        self.history: list[dict[str, float]] = list(start.history)
        if start.checkpoint is not None:
            arrays, theirs = start.checkpoint.arrays, start.checkpoint.fingerprint.get(COMPUTES)
            if theirs is not None and self.computes is not None and theirs != self.computes:
                raise CheckpointError(
                    "its own part computes something else than when it was interrupted: a module that it imports from "
                    "elsewhere has changed; force=true trains it again"
                )
            if theirs is not None:  # an edit that computes the same may have renamed the weights
                arrays = dict(zip(state.state(self.model, self.optimizer), arrays.values(), strict=True))
            state.restore(self.model, self.optimizer, arrays)

    def fit(self, listeners: Sequence[Listener]) -> None:
        """Trains to the last epoch; after each epoch calls the listeners in their order.

        Raises:
            TrainingDiverged: if a loss is NaN or infinite.
            Interrupted: on a signal, between two epochs.
            Whatever listeners raise.
        """
        from seqadd.training import loop

        for listener in listeners:
            listener.on_begin(self)
        warn = functools.partial(self._jit_failed, listeners)
        epochs = loop.train(self.model, self.optimizer, self.data, self.config, self.history, warn=warn)
        while True:
            with defer_signals():  # an exception inside TensorFlow surfaces as another error, or as none
                row = next(epochs, None)
            if row is None:
                break
            for listener in listeners:
                listener.on_epoch(self, row)

    def _jit_failed(self, listeners: Sequence[Listener], message: str) -> None:
        for listener in listeners:
            listener.on_jit_failed(self, message)

    @property
    def n_parameters(self) -> int:
        """How many numbers the training adjusts."""
        return sum(math.prod(variable.shape) for variable in self.model.trainable_variables)

    @defer_signals()
    def take_checkpoint(self) -> Checkpoint:
        """The state of the training at the end of the last epoch."""
        from seqadd.training import state

        return Checkpoint(self._fingerprint, self.history, state.state(self.model, self.optimizer))


@defer_signals()
def build_first_model(config: Config, data: Dataset) -> tuple[AnswerModel, str]:
    """Imports TensorFlow and builds a model with its first weights; returns it with the names of the GPUs."""
    with tensorflow_setup.quiet_import():
        from seqadd.models import architectures
    tensorflow_setup.use_threads(config.threads)
    gpus = tensorflow_setup.use_gpus()
    model = architectures.build_model(
        config,
        question_length=data.train_questions.shape[1],
        answer_length=data.train_answers.shape[1],
        n_characters=len(data.alphabet),
    )
    return model, gpus


@defer_signals()
def what_computes(model: AnswerModel, config: Config, data: Dataset) -> str | None:
    """The digest of what a model with own parts computes, with its first weights; None without own parts."""
    if config.part_code is None:
        return None
    from seqadd.training.computes import computes

    return computes(model, config, data)


class ProgressReporter(Listener):
    """Calls ``notify`` before the first epoch, after each epoch, and if XLA cannot compile the model."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify

    def on_begin(self, session: TrainingSession) -> None:
        self._notify(Stage("compiling"))

    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        self._notify(EpochDone(int(row["epoch"]), dict(row)))

    def on_jit_failed(self, session: TrainingSession, message: str) -> None:
        self._notify(Message(message))
