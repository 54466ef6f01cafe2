"""A finished run with its model and its data set."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqadd.config.messages import one_line
from seqadd.config.schema import Config, override_text
from seqadd.data.drawing import Dataset, Task
from seqadd.data.notation import Notation
from seqadd.data.vocabulary import Ids
from seqadd.errors import CheckpointError, RunNotFound
from seqadd.evaluation.questions import encode_questions, notation_of
from seqadd.reporting.markup import sanitize
from seqadd.system import numeric_flags
from seqadd.system.tensorflow_setup import quiet_import
from seqadd.tracking.artifacts import run_name
from seqadd.tracking.other_source import own_file, own_parts
from seqadd.training.checkpoint import load as load_checkpoint
from seqadd.training.dataset import lengths, task_of
from seqadd.training.fingerprint import COMPUTES, code_digest, equivalent_codes
from seqadd.training.session import what_computes

if TYPE_CHECKING:
    import keras

    from seqadd.models.protocol import AnswerModel

#: The metrics in a run's ``history``.
HISTORY = ("loss", "acc", "val_loss", "val_acc", "val_acc_teacher_forced", "val_exact_match")


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, with its model as it was after one of its epochs.

    Attributes:
        run_id: of the record in the store.
        config: the run's configuration.
        tags: the record's tags.
        epoch: the epoch whose weights the model has; 0 for the weights before the first epoch.
        model: see ``models.architectures.build_model``; ``evaluation.predict.probabilities`` accepts any of them.
        data: the questions that it was trained on, and the held-out ones.
        history: metrics after every epoch up to ``epoch``, by their names: ``history["val_acc"][50]``. Accuracies are
            shares in 0..1, losses are in nats.
        bundled: whether it comes with the package; then ``run_id`` is the model's name, and no store has it.
        edited: whether the source of its own parts was edited since; the model computes the same.

    Example:
        >>> from seqadd import load_run
        >>> run = load_run("run=latest")
        >>> run.read(run.write(["535+61", "7 + 8"]))
        ['535+61', '7+8']
    """

    run_id: str
    config: Config
    tags: Mapping[str, str]
    epoch: int
    model: keras.Model
    data: Dataset
    history: Mapping[str, Mapping[int, float]]
    bundled: bool = False
    edited: bool = False

    @property
    def origin(self) -> str:
        """What it is, for messages: ``run 1a2b...``, or ``model=lstm`` if it comes with the package."""
        return f"model={self.run_id}" if self.bundled else f"run {self.run_id}"

    @property
    def short_id(self) -> str:
        """The beginning of its ID, or the name of a model that comes with the package; for labels and folders."""
        return self.run_id if self.bundled else self.run_id[:8]

    @property
    def name(self) -> str:
        """The run's display name."""
        ended = self.epoch == self.config.epochs
        return run_name(self.config) + ("" if ended else f", after epoch {self.epoch}")

    @property
    def notes(self) -> list[str]:
        """The reasons why its weights may give other numbers here than in training, a line each; usually empty."""
        notes = [f"{own_parts(self.config)} was edited since, and computes the same"] if self.edited else []
        code = self.tags.get("code", "unknown")
        if code not in equivalent_codes():
            commit = sanitize(self.tags.get("git_commit", "unknown"))[:12]
            changed = " with changes" if self.tags.get("git_dirty") == "true" else ""
            notes.append(
                f"it was trained by other code, so results may differ: code {sanitize(code)} of commit "
                f"{commit}{changed}, here code {code_digest()}"
            )
        if self.tags.get("flags", "") != numeric_flags.flags():
            notes.append("it was trained with other flags (its tag flags), so results may differ")
        return notes

    def write(self, questions: Sequence[str]) -> Ids:
        """Encodes questions as the model reads them: padded, and reversed if the model was trained so.

        Args:
            questions: at least one, written like ``535+61``.

        Returns:
            Ids of characters, shape ``(n, question_length)``.

        Raises:
            ValueError: for a text that is no question of its task, or too long for it.
        """
        texts = [questions] if isinstance(questions, str) else questions
        if not len(texts):
            raise ValueError("questions: must be at least one, for example 535+61")
        return np.stack([question.ids for question in encode_questions(self.config, texts)])

    def read(self, questions: Ids) -> list[str]:
        """Decodes questions that ``write`` has encoded to the way people write them."""
        return self.notation.read_questions(questions)

    @functools.cached_property
    def task(self) -> Task:
        """What its questions and answers are."""
        return task_of(self.config)

    @property
    def notation(self) -> Notation:
        """How its model reads questions and writes answers."""
        return notation_of(self.config)

    def counts(self, answers: Ids) -> npt.NDArray[np.bool_] | None:
        """Returns which characters of right answers count, in the answers' shape; None if all do, padding included."""
        if not self.config.ends_with_eos:
            return None
        from seqadd.models.self_reading import until_eos_mask

        return until_eos_mask(answers).numpy() > 0.5

    def seen_in_training(self, question: str) -> str:
        """Returns in words whether the model was trained on a question: ``trained on``, ``held out``, or neither."""
        asked = self.task.read(question)
        written = self.write([asked])[0]
        for ids, which in self._used:
            if (ids == written).all(axis=1).any():
                return which
        drawn, which = self._seen.get(self.task.same(asked), ("", ""))
        if not which:
            return f"not among its {self.config.task.n_questions} {self.config.noun}"
        return which + (" the other way round" if self.config.task.name is None else f" as {drawn}")

    @property
    def _used(self) -> tuple[tuple[Ids, str], ...]:
        return (self.data.train_questions, "trained on"), (self.data.val_questions, "held out")

    @functools.cached_property
    def _seen(self) -> dict[Any, tuple[str, str]]:
        """Each question of the data set and how it was used, by what counts as the same question."""
        return {self.task.same(text): (text, which) for ids, which in self._used for text in self.read(ids)}


def load_model(config: Config, path: Path, origin: str, sha256: str | None) -> keras.Model:
    """Builds the model of a configuration, with the weights of a file.

    Args:
        config: of the run.
        path: the file with the weights.
        origin: the words that choose the run, for messages.
        sha256: digest that the weights must have; None for any.

    Raises:
        RunNotFound: when the weights do not fit the configuration, or have another digest.
    """
    model = _first_model(config)
    try:
        model.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds of errors for a damaged file
        raise RunNotFound(
            f"{origin}: {path.name} does not fit its configuration, or is damaged: {one_line(error)[:200]}"
        ) from error
    _check_weights(model, path, origin, sha256)
    return model


def _first_model(config: Config) -> AnswerModel:
    with quiet_import():
        from seqadd.models import architectures

    question_length, answer_length = lengths(config, task_of(config))
    return architectures.build_model(config, question_length, answer_length, n_characters=len(config.alphabet))


def load_edited_model(config: Config, data: Dataset, path: Path, run_id: str, tags: Mapping[str, str]) -> keras.Model:
    """Builds a model whose parts were edited since a run, with the run's last weights if it computes the same.

    Args:
        config: of the run, with today's parts.
        data: its questions.
        path: its last checkpoint: in a file with weights alone they have the names of the earlier source.
        run_id: for messages.
        tags: of the run.

    Raises:
        RunNotFound: when it computes something else, and when the weights cannot be read.
    """
    model = _first_model(config)
    if what_computes(model, config, data) != tags[COMPUTES]:
        raise RunNotFound(
            f"run={run_id}: {own_parts(config)} was edited, and computes something else here; {own_file(run_id)}"
        )
    try:
        arrays = load_checkpoint(path, None).arrays
        model.set_weights([array for name, array in arrays.items() if name.startswith("model/")])
    except (CheckpointError, ValueError) as error:
        raise RunNotFound(f"run={run_id}: its last weights cannot be used: {one_line(error)[:200]}") from error
    _check_weights(model, path, f"run={run_id}", tags.get("weights_sha256"))
    return model


def _check_weights(model: keras.Model, path: Path, origin: str, sha256: str | None) -> None:
    from seqadd.training import state

    if sha256 is not None and state.weights_digest(model) != sha256:
        raise RunNotFound(f"{origin}: {path.name} is damaged: its checksum differs from the recorded weights_sha256")


def labels(runs: Sequence[TrainedRun]) -> list[str]:
    """Returns a short label for each run that distinguishes it from the others: ``epoch 10``, ``gru``, ``seed 3``."""
    each = [{**run.config.result_keys(), "epoch": run.epoch} for run in runs]
    differing = [key for key in each[0] if len({override_text(keys_of[key]) for keys_of in each}) > 1]
    if "epoch" in differing and all(run.epoch == run.config.epochs for run in runs):
        differing.remove("epoch")
    self_explaining = ("cell", "architecture", "era", "loss")
    shown = [
        ", ".join(override_text(of[key]) if key in self_explaining else f"{key} {override_text(of[key])}"
                  for key in differing)
        for of in each
    ]  # fmt: skip
    names = [run.origin if run.bundled else f"run {run.short_id}" for run in runs]
    return [
        text if text and shown.count(text) == 1 else f"{text} {name}".strip()
        for text, name in zip(shown, names, strict=True)
    ]
