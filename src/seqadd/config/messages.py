"""Rewords errors of Hydra, OmegaConf and TensorFlow in one line: key, value and remedy."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from seqadd.config.parts import Part, declared
from seqadd.config.schema import GROUPS, described_keys, known_keys
from seqadd.config.validation import range_in_words
from seqadd.errors import ConfigError, SeqaddError, redact_credentials
from seqadd.system.files import resource_dir

_MOST_CHARACTERS = 200
# What Keras and TensorFlow add to the message about an error in a model: colours, node names, file lines, arguments.
_AROUND_AN_ERROR = re.compile(
    r"\x1b\[[0-9;]*m|[\x00-\x08\x0e-\x1f\x7f]"
    r"| for '\{\{node [^}]*\}\} = [^']*'|\{\{(function_)?node [^}]*\}\}|\[\[[^]]*\]\]|\[Op:[^]]*\]( name:.*)?"
    r'|^in user code:|^ *File "[^"\n]*", line \d+, in .*\n( {8,}.*\n)?|^ *\w+Error: (?=Exception encountered)'
    r"|^Detected at node .*$|<stack_traces unavailable>"
    r"|\n *(Arguments received by|Stack trace for op definition|Original stack trace for)[\s\S]*",
    re.MULTILINE,
)


def one_line(error: Exception) -> str:
    """An error's message in one line; errors of Hydra and OmegaConf are reworded: key, value and remedy."""
    return redact_credentials(_one_line(error))


def short_line(error: Exception) -> str:
    """Like ``one_line``, but cuts the messages of other libraries to 200 characters."""
    message = one_line(error)
    known = (SeqaddError, HydraException, OmegaConfBaseException)
    if not isinstance(error, known) and len(message) > _MOST_CHARACTERS:
        return f"{message[: _MOST_CHARACTERS - 3]}..."
    return message


def _one_line(error: Exception) -> str:
    cause = _cause(error)
    for explain in _EXPLANATIONS:
        message = explain(error, cause)
        if message is not None:
            return message
    message = _AROUND_AN_ERROR.sub("", str(error))
    return "; ".join(line for line in (" ".join(line.split()) for line in message.splitlines()) if line)


def _cause(error: Exception) -> Exception:
    """The original error of Hydra or OmegaConf that caused this one."""
    cause = error
    while cause.__cause__ is not None and isinstance(cause.__cause__, (HydraException, OmegaConfBaseException)):
        cause = cause.__cause__  # type: ignore[assignment]
    return cause


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _our_own(error: Exception, cause: Exception) -> str | None:
    """For a ConfigError that Hydra has wrapped while it created a plugin."""
    if isinstance(cause, HydraException) and isinstance(cause.__cause__, ConfigError):
        return str(cause.__cause__)
    return None


def _no_such_choice(error: Exception, cause: Exception) -> str | None:
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: must be one of {', '.join(error.options)}"
    return None


def _several_values(error: Exception, cause: Exception) -> str | None:
    if _first_line(error).startswith("Ambiguous value for argument"):
        override = _first_line(error).split("'", 1)[1].rstrip("'")
        return f"{override}: several values; sweep over them with -m {override}"
    return None


def _chosen_too_early(error: Exception, cause: Exception) -> str | None:
    in_a_file = re.match(r"In '([^']+)': Could not override '([^']+)'", _first_line(error))
    if in_a_file and in_a_file[2] in GROUPS:
        return (
            f"{in_a_file[1]}.yaml: cannot choose {in_a_file[2]}, which is composed later; choose it on the command "
            "line, or in a group of your own: +experiment=NAME"
        )
    return None


def _unreadable_override(error: Exception, cause: Exception) -> str | None:
    if isinstance(error, OverrideParseException):
        return f"cannot read the override {error.override!r}; write KEY=VALUE, with special characters 'KEY=\"VALUE\"'"
    return None


def _unknown_key(error: Exception, cause: Exception) -> str | None:
    first_line = _first_line(error)
    if isinstance(cause, ConfigKeyError) or first_line.startswith(("Could not override", "Could not find")):
        # Hydra names the requested key only inside the quotation marks.
        key = first_line.split("'")[1].split("@")[0] if "'" in first_line else str(getattr(cause, "full_key", ""))
        return no_such_key(key)
    strange = re.search(r"Key '([^']+)' (is )?not in", str(error))  # for a key in a file Hydra's message has many lines
    return no_such_key(strange[1]) if strange else None


def _missing_value(error: Exception, cause: Exception) -> str | None:
    return f"{cause.full_key}: must be given" if isinstance(cause, MissingMandatoryValue) else None


def _wrong_value(error: Exception, cause: Exception) -> str | None:
    if not isinstance(cause, ValidationError) or not getattr(cause, "full_key", None):
        return None
    message = str(getattr(cause, "msg", cause)).partition("\n")[0]
    if message.endswith("is not Optional"):
        return f"{cause.full_key}: must not be null"
    field = dict(described_keys()).get(str(cause.full_key))
    value = re.match(r"Value '(.*)' (of type|is not)", message)
    if field is None or value is None:
        return f"{cause.full_key}: {message[0].lower()}{message[1:]}"
    message = f"{cause.full_key}={value[1]}: must be {_in_words(field)}"
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", value[1])
    return f"{message}; to sweep, write -m {cause.full_key}=range({ends[1]},{int(ends[2]) + 1})" if ends else message


def _in_words(field: dataclasses.Field[Any]) -> str:
    """The values of a key in words: ``an integer, at least 1``."""
    kind, _, null = str(field.type).partition(" ")
    bounded = field.metadata["low"] is not None or field.metadata["high"] is not None
    return (
        {"int": "an integer", "float": "a number", "bool": "true or false"}.get(kind, "text")
        + (f", {range_in_words(field)}" if bounded else "")
        + (", or null" if null else "")
    )


# Each function takes an error and its original cause, and returns a reworded message, or None for other kinds of error.
# The first message counts.
_EXPLANATIONS = (
    _our_own,
    _no_such_choice,
    _several_values,
    _chosen_too_early,
    _unreadable_override,
    _unknown_key,
    _missing_value,
    _wrong_value,
)


def not_chosen(part: Part, key: str) -> str:
    """The message about a key of a part that is not chosen."""
    return f"{part.name}.{key}: is a key of {part.choice}; choose it, or leave {part.name}.{key} out"


def no_such_key(key: str, others: Sequence[str] = ()) -> str:
    """The message for an unknown key, with the key that it may stand for.

    Args:
        key: the unknown key.
        others: words that a command reads beside the keys of a configuration, such as ``run``.
    """
    if key == "part_code":
        return "part_code: is computed from the source of own parts; leave it out"
    for own in declared().values():
        if key.partition(".")[0] == own.name and key.partition(".")[2] in own.key_names:
            return not_chosen(own, key.partition(".")[2])
    part = re.match(r"hydra\.(launcher|sweeper)\.", key)  # this project has its own launchers and sweepers
    before, known = (part[0], _plugin_keys(part[1])) if part else ("", [*known_keys(), *others])
    near = [before + each for each in _meant(key.removeprefix(before), known)]
    if near:
        return f"{key}: no such key; did you mean {' or '.join(near)}?"
    return f"{key}: no such key; " + (
        f"keys are {', '.join(known)}" if part else "python -m seqadd.run --help lists all keys"
    )


def _meant(key: str, known: list[str]) -> list[str]:
    """The keys that a wrong one may stand for: ``lr`` and ``rate`` for learning_rate, ``question`` inspect.question."""
    words = {name: name.rpartition(".")[2].split("_") for name in known}
    whole = [name for name in known if name.rpartition(".")[2] == key]
    plural = [name for name in known if name == f"{key}s"]
    parts = [name for name, of in words.items() if len(of) > 1 and key in (*of, "".join(word[0] for word in of))]
    return whole or plural or parts or difflib.get_close_matches(key, known, n=1)


def _plugin_keys(part: str) -> list[str]:
    files = [OmegaConf.load(path) for path in sorted((resource_dir("conf") / "hydra" / part).glob("*.yaml"))]
    return sorted({str(key) for file in files for key in file} - {"_target_"})
