"""Train the sequence-to-sequence models that add numbers, and set their accuracy beside the published one."""

import os

__version__ = "0.1.0"

# The training epoch is a TensorFlow program in float32, whatever this machine's keras.json says: Keras looks for it
# where no file can be, and writes none there.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
os.environ.pop("KERAS_NNX_ENABLED", None)

# MLflow reads these when it is imported. It sends no telemetry, unless this is set to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Its bars over every download would cut into the progress.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# At a run's end it would print the server's address, with the password that may be in it.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# It would retry for minutes while a server is down, and nothing else happens; ``tracking.retry`` does that here.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
# It would print what it logs, with its SQL; unconfigured, it goes where ``system.library_log`` sends it.
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
