"""Cause, not correlation: turns units of recurrent layers off, or puts the states of one question into another's.

A unit that is off is 0 in every state of its layer (of an LSTM its output and its cell state), before the first step
and after each. A patch gives a layer, or some of its units, the states that it has after a step of another question.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from seqadd.data.vocabulary import BLANK
from seqadd.errors import ConfigError
from seqadd.evaluation import predict
from seqadd.evaluation.questions import Question
from seqadd.evaluation.trained_run import TrainedRun
from seqadd.inspection.analysis import Changed, Inspection, ask_all, held_out
from seqadd.inspection.trace import trace
from seqadd.system.tensorflow_setup import quiet_import

with quiet_import():  # a notebook may import this module first
    import keras

    from seqadd.models.own_architecture import PrefixModel
    from seqadd.models.recurrent import UnrolledRNN

_LAYER = r"([^\s,:@\[\]]+)(?:\[(\d+(?:,\d+)*)\])?"


@dataclasses.dataclass(frozen=True)
class Change:
    """A change of a model's states.

    Attributes:
        word: as the command line has it.
        units: pairs of a layer and its units, None for all of them; no pair for each unit of the model in turn.
        donor: the question that has the new states; None for zeros, at every step.
        step: the step, from 1, after which a donor's states come in.
    """

    word: str
    units: Sequence[tuple[str, Sequence[int] | None]]
    donor: Question | None = None
    step: int = 0


def read_changes(runs: Sequence[TrainedRun], words: Sequence[str], questions: Sequence[str]) -> list[Change]:
    """Reads words such as ``off=lstm_1[12,40]``, ``off=each`` and ``patch=431+121@4:lstm_1[33]``.

    Raises:
        ConfigError: for several runs; for a layer, unit or step that is not there; for a text that is no question.
    """
    if words and len(runs) > 1:
        raise ConfigError(f"{words[0]}: needs one run; these are {len(runs)}")
    changes, asked = [_read(runs[0], word) for word in words], ask_all(runs[0], questions)
    for change in changes:
        for question in filter(None, [change.donor, *asked]):
            _check_step(runs[0].model, change, question)
    return changes


def _read(run: TrainedRun, word: str) -> Change:
    key, _, value = word.partition("=")
    layers = recurrent_layers(run.model)
    if not layers:
        raise ConfigError(f"{word}: {run.origin} has no recurrent layer, so no states that can be changed")
    if word == "off=each":
        return Change(word, ())
    text, at, rest = value.strip("\"'").rpartition("@") if key == "patch" else ("", "@", f"0:{value}")
    step, _, where = rest.replace(" ", "").partition(":")
    where = where or (next(iter(layers)) if key == "patch" else "")
    if not (at and step.isdecimal() and re.fullmatch(f"{_LAYER}(,{_LAYER})*", where)):
        raise ConfigError(f"{word}: write off=lstm_1[3,7], off=each, patch=431+121@4 or patch=431+121@4:lstm_1[7]")
    units = [(name, [*map(int, listed.split(","))] if listed else None) for name, listed in re.findall(_LAYER, where)]
    for name, numbers in units:
        if name not in layers:
            raise ConfigError(f"{word}: {run.origin} has no recurrent layer {name}; it has {', '.join(layers)}")
        if max(numbers or [0]) >= layers[name].units:
            raise ConfigError(f"{word}: {name} has units 0..{layers[name].units - 1}")
    return Change(word, units, ask_all(run, [text])[0] if key == "patch" else None, int(step))


def recurrent_layers(model: keras.Model) -> dict[str, Any]:
    """Returns the layers whose states can be changed, by name, those inside decoders included."""
    every = [getattr(layer, "recurrent", layer) for layer in model.layers]
    return {layer.name: layer for layer in every if isinstance(layer, UnrolledRNN)}


def _n_steps(model: keras.Model, layer: Any) -> int:
    # A layer inside a decoder takes a step for each character of the answer.
    return int(keras.tree.flatten(layer.input)[0].shape[1] if layer in model.layers else model.output_shape[1])


def _check_step(model: keras.Model, change: Change, question: Question) -> None:
    if change.donor is not None and isinstance(model, PrefixModel):
        raise ConfigError(f"{change.word}: {model.name} runs again for each character, so its states are not one sum's")
    for layer in (recurrent_layers(model)[name] for name, _ in change.units if change.donor):
        if len(layer._inbound_nodes) > 1:
            raise ConfigError(
                f"{change.word}: the model uses {layer.name} {len(layer._inbound_nodes)} times; must be once"
            )
        if not 1 <= change.step <= _n_steps(model, layer):
            raise ConfigError(f"{change.word}: {layer.name} has steps 1..{_n_steps(model, layer)}")
        if layer.skip_blanks and question.ids[change.step - 1] == BLANK:
            raise ConfigError(f"{change.word}: step {change.step} of {question.text} is padding, which is skipped")


@contextlib.contextmanager
def changed(model: keras.Model, change: Change) -> Iterator[None]:
    """A context manager in which the model, run eagerly as ``evaluation.predict`` does, has its states changed."""
    layers, kept = recurrent_layers(model).values(), dict[str, list[Any]]()

    def changing(layer: Any) -> Callable[..., list[Any]]:
        step, numbers = layer.step, itertools.cycle(range(1, _n_steps(model, layer) + 1))

        def replace(number: int, states: list[Any]) -> list[Any]:
            of_layer = [units for name, units in change.units if name == layer.name]
            for units in of_layer if change.donor is None or number == change.step else ():
                by = kept.setdefault(layer.name, states) if change.donor else [0.0] * len(states)
                chosen = [True if units is None else np.isin(np.arange(state.shape[-1]), units) for state in states]
                states = [keras.ops.where(*each) for each in zip(chosen, by, states, strict=True)]
            return states

        # Step 0 is before the first.
        return lambda x, states, *barrier: replace(next(numbers), step(x, states and replace(0, states), *barrier))

    for layer in layers:
        layer.step = changing(layer)
    try:
        if change.donor is not None:  # the first to be asked, so that its states are kept
            predict.probabilities(model, change.donor.ids[None])
        yield
    finally:
        for layer in layers:
            del layer.step


def with_changes(seen: Inspection, changes: Sequence[Change], notify: Callable[[str], None]) -> Inspection:
    """Adds to an inspection what the model does with each change."""
    run, found = seen.run, Changed()
    for change in changes:
        for traced in seen.traces if change.units else ():
            _check_step(run.model, change, traced.question)
            with changed(run.model, change):
                each = [(change.word, trace(run.model, [traced.question])[0])]
            if change.donor is not None:
                each += [(change.donor.text, trace(run.model, [change.donor])[0])]
            found.traces.setdefault(traced.question.text, []).extend(each)
        if change.units and change.donor is None:
            with changed(run.model, change):
                found.held_out[change.word] = held_out(run)
        if not change.units:
            found.without.extend(_each_off(run, notify))
    return dataclasses.replace(seen, changed=found)


def _each_off(run: TrainedRun, notify: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yields a row for each unit: the share of held-out questions that are right without it."""
    layers = recurrent_layers(run.model).values()
    for name, unit in [(layer.name, unit) for layer in layers for unit in range(layer.units)]:
        notify(f"{name} without unit {unit}")
        with changed(run.model, Change("", [(name, [unit])])):
            guesses = predict.probabilities(run.model, run.data.val_questions).argmax(axis=-1)
        yield {"layer": name, "unit": unit, "exact_match": (guesses == run.data.val_answers).all(axis=1).mean()}
