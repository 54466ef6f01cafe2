"""A finished run with its model and the sums that it learnt."""

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
    """A run that is finished, with its model as it was after one of its epochs.

    Attributes:
        run_id: of the record in the store.
        config: what was run.
        tags: what the record says beside the parameters.
        epoch: after which the model has its weights; 0 for before the first.
        model: see ``models.architectures.build_model``; ``evaluation.predict.probabilities`` puts questions to any.
        data: the sums that it learnt, and those held out.
        history: metrics after every epoch up to ``epoch``, by their names: ``history["val_acc"][50]``.
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
        """What a person would call it."""
        ended = self.epoch == self.config.epochs
        return run_name(self.config) + ("" if ended else f", after epoch {self.epoch}")

    @property
    def notes(self) -> list[str]:
        """Why its weights may compute other numbers here than where they were trained, a line each; mostly none."""
        said = []
        code = self.tags.get("code", "unknown")
        if code not in equivalent_codes():
            commit = sanitize(self.tags.get("git_commit", "unknown"))[:12]
            changed = " with changes" if self.tags.get("git_dirty") == "true" else ""
            said.append(
                f"its weights are computed by other code than that which trained them: code {code_digest()} here, code "
                f"{sanitize(code)} of commit {commit}{changed} there"
            )
        if self.tags.get("flags", "") != numeric_flags.flags():
            said.append("its weights are computed with other flags than they were trained with: see its tag flags")
        return said

    def write(self, questions: Sequence[str]) -> Ids:
        """Questions as the model reads them: padded, and back to front if it was trained so.

        Args:
            questions: at least one, each as ``535+61``.

        Returns:
            Ids of characters, shape ``(n, question_length)``.

        Raises:
            ValueError: for a question that is no sum, or too long for this run.
        """
        texts = [questions] if isinstance(questions, str) else questions
        if not len(texts):
            raise ValueError("questions: must be at least one, as 535+61")
        return np.stack([encode_question(self.config, question).ids for question in texts])

    def read(self, questions: Ids) -> list[str]:
        """What ``write`` made of them back to how people write them."""
        return decode_questions(questions, self.config.reverse)

    def counts(self, answers: Ids) -> npt.NDArray[np.bool_] | None:
        """Which characters of right answers count, same shape as they; None where all do, padding included."""
        if not self.config.ends_with_eos:
            return None
        from seqadd.models.encoder_decoder import until_eos_mask

        return until_eos_mask(answers).numpy() > 0.5

    def met(self, question: str) -> str:
        """Whether the model was trained on a sum: ``trained on``, ``held out``, or neither of them."""
        a, b = read_question(question, self.config.longest)
        for questions, said in ((self.data.train_questions, "trained on"), (self.data.val_questions, "held out")):
            for first, second, how in ((a, b, ""), (b, a, " the other way round")):
                if (questions == self.write([f"{first}+{second}"])[0]).all(axis=1).any():
                    return said + how
        return f"not among its {self.config.task.n_questions} sums"


def labels(runs: Sequence[TrainedRun]) -> list[str]:
    """What tells each of several apart from the others, in the fewest words: ``epoch 10``, ``gru``, ``seed 3``."""
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
