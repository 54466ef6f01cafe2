"""TensorFlow, set up: imported without its messages, several jobs on one GPU. Imports it only in its functions.

A GPU is not chosen: TensorFlow takes what it sees. An epoch is one program of XLA's there as on a processor. cuDNN's
cells are not used: they do not have the gates of 2018, and would break that program in pieces.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def use_threads(threads: int) -> None:
    """Limits TensorFlow to so many threads; must come before its first computation in the process.

    Raises:
        RuntimeError: when TensorFlow has computed already, with another number of threads.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def use_gpus() -> str:
    """Has each process take as much of a GPU's memory as it needs, not all; before its first computation.

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
    """Keeps what TensorFlow says of drivers and processors off the terminal; shown after all if the import fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as said:
        # Its first lines come before it reads that variable, and from C++, so the file descriptor itself is turned.
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
