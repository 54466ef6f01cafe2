"""One training: a model, its optimizer and its history, changed together; listeners follow it epoch by epoch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seqadd.cli.progress import EpochDone, Message, Notify
from seqadd.config.schema import Config
from seqadd.data import vocabulary
from seqadd.data.addition import Dataset
from seqadd.system import tensorflow_setup
from seqadd.system.signals import defer_signals
from seqadd.training.checkpoint import Checkpoint, Start

if TYPE_CHECKING:
    import keras


class Listener:
    """Follows a training. What is raised in one of its methods ends the training."""

    def on_begin(self, session: TrainingSession) -> None:
        """The model has its first weights, or those that it resumes with."""

    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        """An epoch is over; ``row`` holds its metrics, and the ``epoch`` itself, from 1."""

    def on_jit_failed(self, session: TrainingSession, message: str) -> None:
        """XLA cannot compile the model; it trains without."""


class TrainingSession:
    """A training that is set up; TensorFlow is imported here.

    Args:
        config: what is trained.
        data: what it learns.
        start: where it begins.

    Attributes:
        model: see ``models.architectures.build_model``.
        history: the metrics of the epochs so far, each with its ``epoch``, from 1.
        gpus: the names of the GPUs that TensorFlow sees, or ``none``.
    """

    @defer_signals()
    def __init__(self, config: Config, data: Dataset, start: Start) -> None:
        with tensorflow_setup.quiet_import():
            from seqadd.models import architectures
            from seqadd.training import loop, state
        tensorflow_setup.use_threads(config.threads)
        self.gpus = tensorflow_setup.use_gpus()
        self.config, self.data, self._fingerprint = config, data, start.fingerprint
        self.model: keras.Model = architectures.build_model(
            config,
            question_length=data.train_questions.shape[1],
            answer_length=data.train_answers.shape[1],
            n_characters=len(vocabulary.CHARACTERS),
        )
        self.optimizer: Any = loop.make_optimizer(self.model, config)
        self.history: list[dict[str, float]] = start.history
        if start.checkpoint is not None:
            state.restore(self.model, self.optimizer, start.checkpoint.arrays)

    def fit(self, listeners: Sequence[Listener]) -> None:
        """Trains to the last epoch; each epoch goes to the listeners in their order.

        Raises:
            TrainingDiverged: when a loss is NaN or infinite.
            Interrupted: on a signal, between two epochs; whatever listeners raise.
        """
        from seqadd.training import loop

        for listener in listeners:
            listener.on_begin(self)
        warn = functools.partial(self._jit_failed, listeners)
        for row in loop.train(self.model, self.optimizer, self.data, self.config, self.history, warn=warn):
            for listener in listeners:
                listener.on_epoch(self, row)

    def _jit_failed(self, listeners: Sequence[Listener], message: str) -> None:
        for listener in listeners:
            listener.on_jit_failed(self, message)

    @defer_signals()
    def checkpoint(self) -> Checkpoint:
        """The state of the training at the end of the last epoch."""
        from seqadd.training import state

        return Checkpoint(self._fingerprint, self.history, state.state(self.model, self.optimizer))


class ProgressReporter(Listener):
    """Tells ``notify`` of each epoch."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify

    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        self._notify(EpochDone(int(row["epoch"]), dict(row)))

    def on_jit_failed(self, session: TrainingSession, message: str) -> None:
        self._notify(Message(message))
