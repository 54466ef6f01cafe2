"""Trains sequence-to-sequence models that add numbers, and compares their accuracy with the published one."""

import os

__version__ = "0.1.0"

# The training epoch is a TensorFlow program in float32, whatever this machine's keras.json says: KERAS_HOME names a
# folder that cannot exist, so Keras neither reads nor writes that file.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
os.environ.pop("KERAS_NNX_ENABLED", None)

# MLflow reads these variables when it is imported. It sends no telemetry unless the user sets this one to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# MLflow's progress bar for each download would garble the progress display.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# At the end of a run MLflow would print the server's address, which may contain a password.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# MLflow would block for minutes while it retries a server that is down; ``tracking.retry`` does the retries here.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
# MLflow would print its log, SQL included; without its own configuration the log goes to ``system.library_log``.
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
