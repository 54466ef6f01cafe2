"""Snapshots during training: weights and heatmaps of one question, every N epochs.

A run with ``inspect.every=10`` has them as artifacts: ``snapshots/epoch_00010.weights.h5`` and ``.png``. A picture of
the answer alone is logged as an image with a step, which MLflow's page shows on a small card with a slider.
With ``inspect.best=true`` it has the weights of its best epoch.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from seqadd.config.schema import Config
from seqadd.data.drawing import Dataset
from seqadd.evaluation.questions import encode_questions, notation_of
from seqadd.inspection import trace
from seqadd.inspection.panels import answer_heatmap, layer_heatmaps, question_heatmap
from seqadd.system.files import atomic_write
from seqadd.system.signals import defer_signals
from seqadd.tracking.artifacts import IMAGES, snapshot_name
from seqadd.training.session import Listener, TrainingSession

if TYPE_CHECKING:
    from seqadd.tracking.recording import RunRecorder


class Snapshots(Listener):
    """Takes a snapshot whenever one is due: when the training begins or resumes, and after each epoch.

    Args:
        config: says when, and of which question; the default is the first held-out question.
        data: the questions of the run.
        recorder: records the snapshots.
    """

    def __init__(self, config: Config, data: Dataset, recorder: RunRecorder) -> None:
        (first_held_out,) = notation_of(config).read_questions(data.val_questions[:1])
        (self._question,) = encode_questions(config, [config.inspect.question or first_held_out])
        self._recorder = recorder
        self._best = -math.inf, 0  # val_acc, epoch

    def on_begin(self, session: TrainingSession) -> None:
        for row in session.history:
            if row["val_acc"] > self._best[0]:
                self._best = row["val_acc"], int(row["epoch"])
        self._take_where_due(session, len(session.history))

    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        self._take_where_due(session, int(row["epoch"]))
        if session.config.inspect.best and row["val_acc"] > self._best[0]:
            self._keep_best(session, int(row["epoch"]))
            self._best = row["val_acc"], int(row["epoch"])

    def _take_where_due(self, session: TrainingSession, epoch: int) -> None:
        if _is_due(session.config, epoch):
            self._take(session, epoch)

    def _keep_best(self, session: TrainingSession, epoch: int) -> None:
        """Saves the weights in place of those of the best epoch before."""
        if not _is_due(session.config, epoch) and epoch < session.config.epochs:  # else they are saved anyway
            self._save_weights(session, epoch)
        if not _is_due(session.config, self._best[1]):
            self._recorder.artifact(snapshot_name(self._best[1], "weights.h5")).unlink(missing_ok=True)

    @defer_signals()
    def _save_weights(self, session: TrainingSession, epoch: int) -> None:
        from seqadd.training import state

        with atomic_write(self._recorder.artifact(snapshot_name(epoch, "weights.h5"))) as path:
            state.save_weights(session.model, path)

    @defer_signals()  # an asynchronous exception raised inside TensorFlow or matplotlib surfaces as a different error
    def _take(self, session: TrainingSession, epoch: int) -> None:
        from PIL import Image

        from seqadd.reporting import heatmaps

        (traced,) = trace.trace(session.model, [self._question])
        panels = [question_heatmap(traced), *layer_heatmaps([traced])[0]]
        picture = heatmaps.sheet(panels, f"epoch {epoch}: {traced.summary}")
        self._save_weights(session, epoch)
        with atomic_write(self._recorder.artifact(snapshot_name(epoch, "png"))) as path:
            picture.savefig(path, dpi=80)
        card = heatmaps.card(answer_heatmap(traced), [f"epoch {epoch}", *traced.summary.split(": ")])
        drawn = io.BytesIO()
        card.savefig(drawn, dpi=100)
        self._recorder.show_image(Image.open(drawn), IMAGES, epoch)


def _is_due(config: Config, epoch: int) -> bool:
    every = config.inspect.every
    return every is not None and (epoch % every == 0 or epoch == config.epochs)
