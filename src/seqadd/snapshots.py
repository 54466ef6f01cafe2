"""How a model learns: its weights and the heatmaps of one question, every so many epochs of a training.

A run with ``inspect.every=10`` has them as artifacts: ``snapshots/epoch_00010.weights.h5`` and ``.png``, and the
pictures as images with steps too, through which MLflow's page goes with a slider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seqadd import alphabet, views
from seqadd.addition import Dataset
from seqadd.config.schema import Config
from seqadd.questions import as_people_write
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
    first_held_out = as_people_write(alphabet.decode(data.val_questions[:1])[0], config.reverse)
    asked = views.ask(config, config.inspect.question or first_held_out)

    def take(epoch: int) -> None:
        if epoch % every and epoch != config.epochs:
            return
        from seqadd import training
        from seqadd.reporting import heatmaps

        with defer_signals():  # an exception out of the blue inside TensorFlow or matplotlib comes out as another
            (view,) = views.look(model, [asked])
            panels = [views.question_heatmap(view), *views.layer_heatmaps([view])[0]]
            picture = heatmaps.sheet(panels, f"epoch {epoch}: {view.said}")
            with atomic_write(record.artifact(snapshot_name(epoch, "weights.h5"))) as path:
                training.save_weights(model, path)
            drawn = record.artifact(snapshot_name(epoch, "png"))
            with atomic_write(drawn) as path:
                picture.savefig(path, dpi=80)
            record.show_image(drawn, IMAGES, epoch)

    return take
