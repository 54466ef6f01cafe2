"""How a model learns: its weights and the heatmaps of one question, every so many epochs of a training.

A run with ``inspect.every=10`` has them as artifacts: ``snapshots/epoch_00010.weights.h5`` and ``.png``, and the
pictures as images with steps too, through which MLflow's page goes with a slider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seqadd.config.schema import Config
from seqadd.data import vocabulary
from seqadd.data.addition import Dataset, as_people_write
from seqadd.evaluation import predict
from seqadd.inspection import trace
from seqadd.inspection.panels import layer_heatmaps, question_heatmap
from seqadd.system.files import atomic_write
from seqadd.system.signals import defer_signals
from seqadd.tracking.artifacts import IMAGES, snapshot_name

if TYPE_CHECKING:
    import keras

    from seqadd.tracking.recording import RunRecorder


def taker(config: Config, data: Dataset, model: keras.Model, record: RunRecorder) -> Callable[[int], None]:
    """A function that is told before the first epoch (0) and after each, and takes a snapshot where one is due.

    Args:
        config: says when, and of which question.
        data: without a question, the first of the held-out sums is it.
        model: as it is when the function is called.
        record: gets the snapshots.
    """
    every = config.inspect.every
    if every is None:
        return lambda epoch: None
    first_held_out = as_people_write(vocabulary.decode(data.val_questions[:1])[0], config.reverse)
    asked = predict.encode_question(config, config.inspect.question or first_held_out)

    def take(epoch: int) -> None:
        if epoch % every and epoch != config.epochs:
            return
        from seqadd.reporting import heatmaps
        from seqadd.training import state

        with defer_signals():  # an exception out of the blue inside TensorFlow or matplotlib comes out as another
            (view,) = trace.trace(model, [asked])
            panels = [question_heatmap(view), *layer_heatmaps([view])[0]]
            picture = heatmaps.sheet(panels, f"epoch {epoch}: {view.said}")
            with atomic_write(record.artifact(snapshot_name(epoch, "weights.h5"))) as path:
                state.save_weights(model, path)
            drawn = record.artifact(snapshot_name(epoch, "png"))
            with atomic_write(drawn) as path:
                picture.savefig(path, dpi=80)
            record.show_image(drawn, IMAGES, epoch)

    return take
