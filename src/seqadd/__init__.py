"""Train the sequence-to-sequence models that add numbers, and set their accuracy beside the published one."""

import os

__version__ = "0.1.0"

# The training epoch is a TensorFlow program in float32, whatever this machine's keras.json says: Keras looks for it
# where no file can be, and writes none there.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
os.environ.pop("KERAS_NNX_ENABLED", None)
