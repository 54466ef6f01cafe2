"""The digest ``computes`` of a model with own parts: equal if its programs and first weights are, whatever its source.

The programs are those that training and answering run: the forward pass with its gradient, and the answer. Of their
operations all counts but the names: types, attributes, edges, shapes, the values of constants, which weight is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from seqadd.config.schema import Config
from seqadd.data.drawing import Dataset
from seqadd.models.protocol import AnswerModel
from seqadd.models.self_reading import SelfReadingModel
from seqadd.training.state import weights_digest

#: Operations that call Python, which no graph shows.
_HIDDEN = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
#: Attributes that hold names, of which some are numbered over the whole process.
_NAMES = frozenset(
    {"_class", "_gradient_op_type", "_user_specified_name", "forward_function_name", "backward_function_name"}
)


class _Unknown(Exception):
    """A program does something that its graph does not show."""


def computes(model: AnswerModel, config: Config, data: Dataset) -> str | None:
    """64 hex digits, equal for models that compute the same; None if the graph of a model does not show it.

    Args:
        model: with its first weights.
        config: of the run.
        data: the questions of the run.
    """
    digest = hashlib.sha256(weights_digest(model).encode())
    for name, numbers in sorted(data.val_groups.items()):  # an own task's, which the digest of the data leaves out
        digest.update(name.encode() + np.ascontiguousarray(numbers).tobytes())
    constrained = [index for index, each in enumerate(model.trainable_variables) if each.constraint is not None]
    digest.update(repr(constrained).encode() if constrained else b"")
    try:
        for program in _programs(model, config, data):
            digest.update(_Graph(program, model).text().encode())
    except Exception:  # own code can raise anything; without the digest a run lacks nothing but this proof
        return None
    return digest.hexdigest()


def _programs(model: AnswerModel, config: Config, data: Dataset) -> Iterator[Any]:
    """Traces the programs; in the training's own shapes, as own code may depend on them."""
    n, (_, length), characters = config.batch_size, data.train_answers.shape, len(data.alphabet)
    questions = tf.TensorSpec((n, data.train_questions.shape[1]), tf.int32)
    answers = tf.TensorSpec((n, length), tf.int32)
    slopes = tf.TensorSpec((n, length, characters), tf.float32)
    reads_only_right_answers = config.teacher_forcing in (None, "always")
    forced = None if reads_only_right_answers else tf.TensorSpec((n, length), tf.bool)

    def train(questions: tf.Tensor, answers: tf.Tensor, slopes: tf.Tensor, forced: tf.Tensor | None) -> Any:
        with tf.GradientTape() as tape:
            x = tf.one_hot(questions, characters)
            probabilities = model.training_forward(x, answers, training=True, forced=forced)
        gradients = tape.gradient(probabilities, model.trainable_variables, output_gradients=slopes)
        # The optimizer applies constraints after each step.
        limits = [each.constraint(each.value) for each in model.trainable_variables if each.constraint is not None]
        return probabilities, gradients, limits

    def answer(questions: tf.Tensor, answers: tf.Tensor) -> Any:
        x = tf.one_hot(questions, characters)
        probabilities = model.training_forward(x, answers, training=False)
        if isinstance(
            model, SelfReadingModel
        ):  # the first step has no states before it; the others are like the second
            return probabilities, model.greedy_decode(x, longest=2)
        return probabilities

    yield tf.function(train).get_concrete_function(questions, answers, slopes, forced)
    yield tf.function(answer).get_concrete_function(questions, answers)


class _Graph:
    """The graph of a traced function, as text without names."""

    def __init__(self, program: Any, model: AnswerModel) -> None:
        self._program, graph = program, program.graph
        self._definition = graph.as_graph_def()
        self._functions = {each.signature.name: each for each in self._definition.library.function}
        self._written: dict[str, str] = {}
        weights = {id(variable.value.handle): f"weight {i}" for i, variable in enumerate(model.variables)}
        self._captured = {inner.op.name: _captured(outer, weights) for outer, inner in graph.captures}

    def text(self) -> str:
        """Its operations in their order, with the outputs."""
        at = {node.name: str(index) for index, node in enumerate(self._definition.node)}
        lines = [
            f"{line} {self._captured.get(node.name, '')}"
            for node, line in zip(self._definition.node, self._operations(self._definition.node, at), strict=True)
        ]
        return "\n".join([*lines, *(_edge(output.name, at) for output in self._program.graph.outputs)])

    def _operations(self, nodes: Iterable[Any], at: Mapping[str, str]) -> Iterator[str]:
        for node in nodes:
            if node.op in _HIDDEN:
                raise _Unknown(node.op)
            data = [_edge(each, at) for each in node.input if not each.startswith("^")]
            order = sorted(_edge(each, at) for each in node.input if each.startswith("^"))  # else in that of the names
            yield f"{node.op} {node.device} {data} {order} {self._attributes(node.attr)}"

    def _attributes(self, attributes: Mapping[str, Any]) -> str:
        return " ".join(f"{name}={self._value(attributes[name])}" for name in sorted(attributes) if name not in _NAMES)

    def _value(self, attribute: Any) -> str:
        functions = [attribute.func] if attribute.HasField("func") else list(attribute.list.func)
        if functions:
            return " ".join(f"{self._function(each.name)} {self._attributes(each.attr)}" for each in functions)
        return hashlib.sha256(attribute.SerializeToString(deterministic=True)).hexdigest()

    def _function(self, name: str) -> str:
        """The digest of a function that an operation calls; its name is numbered over the whole process."""
        if name not in self._written:
            function = self._functions[name]
            inputs = [each.name for each in function.signature.input_arg]
            nodes = [node.name for node in function.node_def]
            at = {each: str(index) for index, each in enumerate([*inputs, *nodes])}
            outputs = [_edge(function.ret[each.name], at) for each in function.signature.output_arg]
            kinds = [each.type for each in function.signature.input_arg]
            lines = [*self._operations(function.node_def, at), f"{kinds} {outputs} {self._attributes(function.attr)}"]
            self._written[name] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return self._written[name]


def _edge(name: str, at: Mapping[str, str]) -> str:
    """The output of an operation that an input names: ``3:0``, or ``^3`` if only the order counts."""
    operation, _, output = name.removeprefix("^").partition(":")
    return f"{'^' * name.startswith('^')}{at[operation]}:{output or 0}"


def _captured(outer: Any, weights: Mapping[int, str]) -> str:
    """What an input of the graph stands for: a weight of the model, or a value."""
    if id(outer) in weights:
        return weights[id(outer)]
    if outer.dtype in (tf.resource, tf.variant):
        raise _Unknown("a resource that is no weight of the model")
    return hashlib.sha256(tf.io.serialize_tensor(outer).numpy()).hexdigest()
