"""What the environment does to the arithmetic of a process: flags of TensorFlow and XLA, and how Keras was set up.

Numbers follow from it as they do from the code. A run says which flags it was made with; flags that TensorFlow does not
run with are refused before anything is recorded, and so is a Keras that was set up otherwise. Imports neither of them.
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

# Variables with flags, or with the name of a file of flags.
_LISTS = ("XLA_FLAGS", "TF_XLA_FLAGS", "TF_JITRT_FLAGS")

# Variables by which the libraries choose how to compute, after what TensorFlow 2.21 reads. Others that begin with TF_
# are left alone: those of Terraform do too, and can hold secrets.
_SETTINGS = re.compile(
    r"(ONEDNN|DNNL)_\w+|NVIDIA_TF32_OVERRIDE|CUBLAS(LT)?_(WORKSPACE|EMULAT)\w*"
    r"|TF_(?!VAR_)\w*(ONEDNN|ZENDNN|MKL|EIGEN|CUDNN|CUBLAS|CUFFT|ROCM|JIT|XLA|MLIR|MIXED_PRECISION|FPMATH|FP16|BF16"
    r"|FP32|TF32|CONV|FFT|WINOGRAD|AUTOTUNE|DETERMINIS|NANPROP)\w*"
)

# What only writes or keeps something.
_ALTERS_NOTHING = re.compile(r"(^|_)(cache|dump|dumping|log|logging|verbose)(_|$)", re.IGNORECASE)

# Where MLflow's tags end, and a line that anybody reads.
_LONGEST = 1000

# What ends where TensorFlow does not take its flags: it reads some when it is imported, others when it compiles.
_PROGRAM = """
import tensorflow
tensorflow.function(lambda x: x + x, jit_compile=True)(tensorflow.constant(1.0))
"""
_SECONDS_TO_TRY = 600.0
_MOST_CHARACTERS = 200


def flags(environment: Mapping[str, str] = os.environ) -> str:
    """The flags of an environment that can alter numbers, sorted, as one text; empty where there are none.

    Flags for caches, dumps and logs are left out; flags that nobody here knows count.

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
    """The flags in the value of a variable, or in the file that it names, sorted by their names."""
    words = [value]  # no flags and no file, with which TensorFlow ends
    if value.lstrip().startswith("-"):
        words = _words(value)
    elif value:
        with suppress(OSError):
            words = _words(Path(value).read_text(encoding="utf-8", errors="replace"))
    # In their order where one is given twice: the last counts.
    return sorted((word for word in words if not _ALTERS_NOTHING.search(_name(word))), key=_name)


def _words(text: str) -> list[str]:
    """Flags as TensorFlow reads them: up to the first word that is none."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quotation mark without its other
        words = text.split()
    return list(itertools.takewhile(lambda word: word.startswith("-"), words))


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]


def key_with_flags(*parts: str) -> str:
    """The parts of a name, and the flags if there are any: what is made with others goes by another name."""
    return " ".join([*parts, *([flags()] if flags() else [])])


def check_flags(environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, in TensorFlow's own words, for flags that it does not run with.

    It would end the process. So where there are flags, and only there, it is tried in a process of its own.
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
        said = f"nothing in {_SECONDS_TO_TRY:.0f} seconds"
    else:
        if done.returncode == 0:
            return
        lines = done.stderr.strip().splitlines() or [f"nothing, and ends with exit code {done.returncode}"]
        fatal = [line for line in lines if re.match(r"F\d{4} ", line)] or lines[-1:]
        said = re.sub(r"^F\d{4} [^]]*\] ", "", fatal[0]).strip()[:_MOST_CHARACTERS]
    raise ConfigError(f"{given[:_MOST_CHARACTERS]}: TensorFlow does not run so, it says: {said}; take it out")


def check_libraries() -> None:
    """Raises ConfigError where Keras or TensorFlow, if imported, were set up to compute otherwise than runs do."""
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
                True,  # NVIDIA_TF32_OVERRIDE=0 forbids it, and runs say so
            ),
        ]
    for what, value, expected in found:
        if value != expected:
            raise ConfigError(
                f"{what} is {value!r} in this process: runs are computed with {expected!r}; set it back, or use a "
                "process of its own"
            )
