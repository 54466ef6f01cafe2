"""Train the sequence-to-sequence models that add numbers, and set their accuracy beside the published one."""

import os

# The training epoch is a TensorFlow program, whatever backend this machine's keras.json names.
os.environ["KERAS_BACKEND"] = "tensorflow"
