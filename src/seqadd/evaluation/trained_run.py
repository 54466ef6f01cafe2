"""A finished run with its model and its data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seqadd.config.schema import Config, override_text
from seqadd.data.addition import Dataset, read_question
from seqadd.data.vocabulary import Ids
from seqadd.evaluation.questions import decode_questions, encode_question
from seqadd.reporting.markup import sanitize
from seqadd.system import numeric_flags
from seqadd.tracking.artifacts import run_name
from seqadd.training.fingerprint import code_digest, equivalent_codes

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, with its model as it was after one of its epochs.

    Attributes:
        run_id: of the record in the store.
        config: the run's configuration.
        tags: the record's tags.
        epoch: the epoch whose weights the model has; 0 for the weights before the first epoch.
        model: see ``models.architectures.build_model``; ``evaluation.predict.probabilities`` accepts any of them.
        data: the sums that it was trained on, and the held-out sums.
        history: metrics after every epoch up to ``epoch``, by their names: ``history["val_acc"][50]``. Accuracies are
            shares in 0..1, losses are in nats.

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

    @property
    def name(self) -> str:
        """The run's display name."""
        ended = self.epoch == self.config.epochs
        return run_name(self.config) + ("" if ended else f", after epoch {self.epoch}")

    @property
    def notes(self) -> list[str]:
        """The reasons why its weights may give other numbers here than in training, a line each; usually empty."""
        notes = []
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
            ValueError: for a question that is no sum, or too long for this run.
        """
        texts = [questions] if isinstance(questions, str) else questions
        if not len(texts):
            raise ValueError("questions: must be at least one, for example 535+61")
        return np.stack([encode_question(self.config, question).ids for question in texts])

    def read(self, questions: Ids) -> list[str]:
        """Decodes questions that ``write`` has encoded to the way people write them."""
        return decode_questions(questions, self.config.reverse)

    def counts(self, answers: Ids) -> npt.NDArray[np.bool_] | None:
        """Returns which characters of right answers count, in the answers' shape; None if all do, padding included."""
        if not self.config.ends_with_eos:
            return None
        from seqadd.models.encoder_decoder import until_eos_mask

        return until_eos_mask(answers).numpy() > 0.5

    def seen_in_training(self, question: str) -> str:
        """Returns in words whether the model was trained on a sum: ``trained on``, ``held out``, or neither."""
        a, b = read_question(question, self.config.longest)
        for questions, which in ((self.data.train_questions, "trained on"), (self.data.val_questions, "held out")):
            for first, second, how in ((a, b, ""), (b, a, " the other way round")):
                if (questions == self.write([f"{first}+{second}"])[0]).all(axis=1).any():
                    return which + how
        return f"not among its {self.config.task.n_questions} sums"


def labels(runs: Sequence[TrainedRun]) -> list[str]:
    """Returns a short label for each run that tells it apart from the others: ``epoch 10``, ``gru``, ``seed 3``."""
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
    return [
        text if text and shown.count(text) == 1 else f"{text} run {run.run_id[:8]}".strip()
        for text, run in zip(shown, runs, strict=True)
    ]
