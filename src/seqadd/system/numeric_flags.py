"""Environment settings that affect a process' arithmetic: flags of TensorFlow and XLA, and the settings of Keras.

Numbers depend on them as they do on the code. A run records its flags. Flags that TensorFlow does not run with, and
other settings of Keras, are refused before anything is recorded. Imports neither library.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from seqadd.errors import ConfigError

# Variables that contain flags, or the path of a file of flags.
_LISTS = ("XLA_FLAGS", "TF_XLA_FLAGS", "TF_JITRT_FLAGS")

# Variables that select how the libraries compute, from the list that TensorFlow 2.21 reads. Other variables that begin
# with TF_ are ignored: Terraform's begin so too, and can contain secrets.
_SETTINGS = re.compile(
    r"(ONEDNN|DNNL)_\w+|NVIDIA_TF32_OVERRIDE|CUBLAS(LT)?_(WORKSPACE|EMULAT)\w*"
    r"|TF_(?!VAR_)\w*(ONEDNN|ZENDNN|MKL|EIGEN|CUDNN|CUBLAS|CUFFT|ROCM|JIT|XLA|MLIR|MIXED_PRECISION|FPMATH|FP16|BF16"
    r"|FP32|TF32|CONV|FFT|WINOGRAD|AUTOTUNE|DETERMINIS|NANPROP)\w*"
)

# Flags that only write or cache something.
_ALTERS_NOTHING = re.compile(r"(^|_)(cache|dump|dumping|log|logging|verbose)(_|$)", re.IGNORECASE)

# The length in characters from which the text is cut, to fit into an MLflow tag and to stay readable.
_LONGEST = 1000

# A program that fails if TensorFlow refuses its flags: it reads some at import, others when it compiles.
_PROGRAM = """
import tensorflow
tensorflow.function(lambda x: x + x, jit_compile=True)(tensorflow.constant(1.0))
"""
_SECONDS_TO_TRY = 600.0
_MOST_CHARACTERS = 200


def flags(environment: Mapping[str, str] = os.environ) -> str:
    """The flags of an environment that can alter numbers, sorted, as one text; empty if there are none.

    Flags for caches, dumps and logs are left out; unknown flags are included.

    Example:
        >>> flags({"XLA_FLAGS": "--xla_dump_to=here --xla_cpu_enable_fast_math=true", "TF_ENABLE_ONEDNN_OPTS": "0"})
        'TF_ENABLE_ONEDNN_OPTS=0; XLA_FLAGS=--xla_cpu_enable_fast_math=true'
    """
    found = []
    for name, value in sorted(environment.items()):
        if name in _LISTS:
            value = " ".join(_that_count(value))
        elif not _SETTINGS.fullmatch(name) or _ALTERS_NOTHING.search(name):
            continue
        if value.strip():
            found.append(f"{name}={value.strip()}")
    text = "; ".join(found)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text


def _that_count(value: str) -> list[str]:
    """The flags in a variable's value, or in the file that it names, sorted by name."""
    words = [value]  # for a value that is neither flags nor a file, which ends TensorFlow
    if value.lstrip().startswith("-"):
        words = _words(value)
    elif value:
        with suppress(OSError):
            words = _words(Path(value).read_text(encoding="utf-8", errors="replace"))
    # The sort is stable: if a flag is given twice, the last one counts and still comes last.
    return sorted((word for word in words if not _ALTERS_NOTHING.search(_name(word))), key=_name)


def _words(text: str) -> list[str]:
    """Splits flags as TensorFlow does: up to the first word that is not a flag."""
    try:
        words = shlex.split(text)
    except ValueError:  # an unclosed quotation mark
        words = text.split()
    return list(itertools.takewhile(lambda word: word.startswith("-"), words))


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]


def key_with_flags(*parts: str) -> str:
    """Joins the parts of a key, and appends the flags if there are any, so that other flags give another key."""
    return " ".join([*parts, *([flags()] if flags() else [])])


def check_flags(environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with TensorFlow's own message, for flags that TensorFlow refuses.

    TensorFlow would end the process. So the flags, if there are any, are tested in a separate process.
    """
    given = [
        f"{name}={value}"
        for name, value in sorted(environment.items())
        if value and (name in _LISTS or _SETTINGS.fullmatch(name))
    ]
    if given:
        _try(" ".join(given))


@functools.cache
def _try(given: str) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS_TO_TRY,
        )
    except subprocess.TimeoutExpired:
        message = f"no response in {_SECONDS_TO_TRY:.0f} seconds"
    else:
        if done.returncode == 0:
            return
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        fatal = [line for line in lines if re.match(r"F\d{4} ", line)] or lines[-1:]
        message = re.sub(r"^F\d{4} [^]]*\] ", "", fatal[0]).strip()[:_MOST_CHARACTERS]
    raise ConfigError(f"{given[:_MOST_CHARACTERS]}: TensorFlow does not start with it: {message}; unset it")


def check_libraries() -> None:
    """Raises ConfigError if an imported Keras or TensorFlow has settings that differ from those of runs."""
    keras, tf = sys.modules.get("keras"), sys.modules.get("tensorflow")
    found: list[tuple[str, object, object]] = []
    if keras is not None:
        found += [
            ("keras.config.backend()", keras.config.backend(), "tensorflow"),
            ("keras.config.floatx()", keras.config.floatx(), "float32"),
            ("keras.config.dtype_policy().name", keras.config.dtype_policy().name, "float32"),
            ("keras.config.epsilon()", keras.config.epsilon(), 1e-7),
        ]
    if tf is not None:
        rewrites = tf.config.optimizer.get_experimental_options()
        found += [
            ("tf.executing_eagerly()", tf.executing_eagerly(), True),
            ("tf.config.functions_run_eagerly()", tf.config.functions_run_eagerly(), False),
            ("tf.config.optimizer.get_jit()", tf.config.optimizer.get_jit(), ""),
            ("auto_mixed_precision", bool(rewrites.get("auto_mixed_precision")), False),
            (
                "tf.config.experimental.tensor_float_32_execution_enabled()",
                tf.config.experimental.tensor_float_32_execution_enabled(),
                True,  # NVIDIA_TF32_OVERRIDE=0 disables it; runs record that variable
            ),
        ]
    for what, value, expected in found:
        if value != expected:
            raise ConfigError(
                f"{what} is {value!r} in this process, runs need {expected!r}; reset it, or start the run in "
                "another process"
            )
