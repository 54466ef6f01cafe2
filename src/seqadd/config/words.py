"""The words ``KEY=VALUE`` of a command line: their form, their values, and numbers such as ``1e3`` for integers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString, Transformer
from hydra.errors import HydraException

from seqadd.config.messages import one_line
from seqadd.config.parts import declared
from seqadd.config.schema import GROUPS, described_keys, known_keys
from seqadd.errors import ConfigError

_SCIENTIFIC = re.compile(r"(?<![\w.])\d+(?:\.\d+)?[eE]\+?\d{1,2}(?![\w.])")


def check_words(words: Sequence[str], others: Sequence[str] = ()) -> None:
    """Raises ConfigError for a word without ``=``, and for a null choice, of which Hydra says neither key nor value.

    The message corrects ``cell gru`` and ``cell = gru``.

    Args:
        words: the words.
        others: keys that a command reads beside those of a configuration, such as ``run``.
    """
    for index, word in enumerate(words):
        if "=" in word.lstrip("=") or word.startswith("~"):
            continue
        after = [each for each in words[index + 1 : index + 3] if each != "="]
        if word in {*known_keys(), *GROUPS, *others} and after and "=" not in after[0]:
            raise ConfigError(f"{' '.join(words[index : index + 2])}: write {word}={after[0]}")
        keys = [name for name, field in described_keys() if word in (field.metadata["choices"] or ())]
        example = f"{keys[0]}={word}" if keys else "cell=gru"
        raise ConfigError(f"{word}: must be KEY=VALUE, for example {example}")
    values = dict(word.partition("=")[::2] for word in words)
    for group in GROUPS:
        if re.search(r"(^|,)\s*null\s*(,|$)", values.get(group, ""), re.IGNORECASE):
            raise ConfigError(null_choice(group, values.get("architecture")))


def null_choice(group: str, architecture: str | None = None) -> str:
    """Returns the message for a config group without a choice, ``cell=null``.

    Args:
        group: the config group.
        architecture: the architecture that is chosen; None for the default one.
    """
    if group != "cell":
        return f"{group}=null: must not be null; leave {group} out for the default"
    own = declared().get(("architecture", architecture or ""))
    if own is not None and own.settings["cell"] is None:
        return f"cell=null: architecture={architecture} has no cell; leave cell out"
    cells = sorted(dict(described_keys())["cell"].metadata["choices"])
    which = "the default architecture" if architecture is None else f"architecture={architecture}"
    return f"cell=null: {which} needs a cell; must be one of {', '.join(cells)}, or left out"


def as_option(option: str, words: Sequence[str]) -> str | None:
    """Returns the message for a key that was written as an option, ``--cell gru`` or ``--cell=gru``; else None.

    Args:
        option: the unknown option.
        words: the whole command line.
    """
    key, equals, value = option.lstrip("-").partition("=")
    if key not in {*known_keys(), *GROUPS}:
        return None
    index = words.index(option)
    after = value if equals else " ".join(words[index + 1 : index + 2])
    return f"{option}: keys are not options; write {key}={after or 'VALUE'}"


def with_integers(words: Sequence[str]) -> list[str]:
    """Writes whole numbers such as ``1e3`` as integers in the words of keys that are integers."""
    integers = {name for name, field in described_keys() if str(field.type).startswith("int")}
    written = []
    for word in words:
        key, equals, value = word.partition("=")
        is_integer = key.lstrip("+") in integers
        written.append(f"{key}={_SCIENTIFIC.sub(_integer, value)}" if equals and is_integer else word)
    return written


def _integer(found: re.Match[str]) -> str:
    number = Decimal(found[0])
    return str(int(number)) if number == int(number) else found[0]


def read_word(word: str) -> tuple[str, list[str]]:
    """Returns the key of a word and its values as texts, read with Hydra's grammar.

    Plain values are returned as they are written: the ID ``12e4`` of a run must not become a number.

    Example:
        >>> read_word('question="793+716",5+7'), read_word("epoch=range(0,30,10)")
        (('question', ['793+716', '5+7']), ('epoch', ['0', '10', '20']))

    Raises:
        ConfigError: for a word that Hydra cannot read.
    """
    key, _, value = word.partition("=")
    if not re.search(r"[\"'()\[\]{}$\\]", value):
        return key, [part.strip() for part in value.split(",") if part.strip()]
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
        several = override.is_sweep_override()
        values = list(override.sweep_iterator(Transformer.identity)) if several else [override.value()]
    except HydraException as error:
        raise ConfigError(one_line(error)) from error
    return key, [each.text if isinstance(each, QuotedString) else str(each) for each in values]
