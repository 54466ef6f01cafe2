"""GPUs: which TensorFlow sees, and that several jobs can share one. Chooses none: TensorFlow takes what it sees.

An epoch is one program of XLA's on a GPU as on a processor. cuDNN's cells are never asked for: they have no gates of
2018, and would break that program in pieces.
"""

from __future__ import annotations

import tensorflow as tf


def use_gpus() -> str:
    """Has each process take as much of a GPU's memory as it needs, not all; before its first computation.

    Returns:
        The names of the GPUs that TensorFlow sees, or ``none``.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return ", ".join(names) or "none"
