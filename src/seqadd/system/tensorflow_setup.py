"""Sets up TensorFlow: import without messages, threads, several jobs on one GPU. Only its functions import TensorFlow.

It selects no GPU: TensorFlow uses those that it sees. On a GPU, as on a processor, an epoch is one XLA program. cuDNN's
cells are not used: they do not have the gates of 2018, and would split that program.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def use_threads(threads: int) -> None:
    """Limits TensorFlow to ``threads`` threads; must be called before its first computation in the process.

    Raises:
        RuntimeError: if TensorFlow has already computed with another number of threads.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def use_gpus() -> str:
    """Makes TensorFlow allocate GPU memory as needed, not all of it; must be called before its first computation.

    Returns:
        The names of the GPUs that TensorFlow sees, or ``none``.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return ", ".join(names) or "none"


@contextmanager
def quiet_import() -> Iterator[None]:
    """Hides TensorFlow's messages about drivers and processors; prints them if the import fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as captured:
        # TensorFlow's C++ code prints its first lines before it reads that variable, so the file descriptor itself is
        # redirected.
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except Exception:
            captured.seek(0)
            os.write(stderr, captured.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
