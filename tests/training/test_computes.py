"""What a model computes: the same after an edit of names alone, and not after an edit of anything else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seqadd import load_config
from seqadd.training.dataset import make_dataset
from seqadd.training.session import build_first_model, what_computes

CELL = """
import keras
import tensorflow as tf
from keras import ops
import seqadd

SCALE = tf.constant([1.0])

@tf.function
def nested(h):
    return h * 1.0

@seqadd.cell("mine")
class Mine(keras.layers.Layer):
    def __init__(self, units, **settings):
        super().__init__(**settings)
        self.units = self.state_size = units
    def build(self, shape):
        self.W = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.b = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self.c = self.add_weight(shape=(self.units,), initializer="zeros")
    def call(self, x, states, training=False):
        h = nested(x @ self.W + states[0] + self.b)
        h = ops.tanh(h) * (1 + self.c) * SCALE
        return h, [h]
"""
SUM = "h = nested(x @ self.W + states[0] + self.b)\n        h = ops.tanh(h) * (1 + self.c)"
RENAMED = """
import keras
from keras import ops
import tensorflow as tf
import seqadd

ONE = tf.constant([1.0])

@tf.function
def inner(value):
    # A comment.
    return value * 1.0

@seqadd.cell("mine")
class Other(keras.layers.Layer):
    def __init__(self, units, **settings):
        super().__init__(**settings)
        self.width = self.state_size = units
    def build(self, shape):
        def weight(*size, **settings):
            return self.add_weight(shape=size, **settings)
        self.input_weights = weight(shape[-1], self.width)
        self.c = weight(self.width, initializer="zeros", name="b")
        self.b = weight(self.width, initializer="zeros", name="kernel")
    def candidate(self, inputs, state):
        return inner(inputs @ self.input_weights + state + self.c)
    def call(self, inputs, states, training=False):
        (state,) = states
        scaled = ops.tanh(self.candidate(inputs, state)) * (1 + self.b) * ONE
        return scaled, [scaled]
"""
READER = """
import keras
from keras import layers, ops
import seqadd

@seqadd.architecture("reader", cell=None, reads_answer=True)
def reader(question, previous):
    read = ops.cumsum(layers.Dense(4)(previous), axis=1)
    return read + layers.Dense(4)(layers.Flatten()(question))[:, None]
"""
TASK = """
import seqadd

@seqadd.task("echo", characters="0123456789", curve="val_acc")
class Echo:
    def draw(self, rng, n):
        return [str(each) for each in rng.integers(0, 99, n)]
    def solve(self, question):
        return question
    def roomiest(self):
        return ("99",)
    def groups(self, question):
        return {"length": len(question)}
"""
WORDS = ["cell=mine", "architecture=aligned", "encoder_units=3", "decoder_units=null"]
SIZES = ["task.n_questions=55", "batch_size=20"]


@pytest.fixture
def digest(own: Callable[[str], None]) -> Callable[..., str | None]:
    def of(text: str, *words: str) -> str | None:
        own(text)
        config = load_config(*(words or [*WORDS, "task.digits=1"]), *SIZES)
        data = make_dataset(config)
        return what_computes(build_first_model(config, data)[0], config, data)

    return of


@pytest.fixture(scope="module")
def known() -> dict[str, str | None]:
    """The digest of ``CELL``, so that it is traced once."""
    return {}


def of_cell(digest: Callable[..., str | None], known: dict[str, str | None]) -> str | None:
    if CELL not in known:
        known[CELL] = digest(CELL)
    assert known[CELL] is not None
    return known[CELL]


def test_new_names_comments_and_methods_change_nothing(digest, known):
    assert digest(RENAMED) == of_cell(digest, known)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ops.tanh(h) *", "0.5 * ops.tanh(h) *"),
        ("ops.tanh(h)", "ops.sigmoid(h)"),
        ('initializer="zeros")', 'initializer="ones")'),
        ('name="kernel")', 'name="kernel", initializer="orthogonal")'),
        # In a function that the step calls, and in a constant that was made before.
        ("h * 1.0", "h * 0.5"),
        ("SCALE = tf.constant([1.0])", "SCALE = tf.constant([2.0])"),
        # Only the answers are others, not the training step; two weights with equal first values change places in them.
        (SUM, f"b, c = (self.b, self.c) if training else (self.c, self.b); {SUM}".replace("+ self.", "+ ")),
        ("return h, [h]", "h = h if training else 0.5 * h; return h, [h]"),
        # What the optimizer does to the weight after a step.
        ('name="kernel")', 'name="kernel", constraint="non_neg")'),
        # The gradient alone.
        ("states[0] + self.b", "ops.stop_gradient(states[0]) + self.b"),
    ],
)  # fmt: skip
def test_an_edit_that_computes_something_else_is_noticed(digest, known, old, new):
    assert CELL.count(old) >= 1
    assert digest(CELL.replace(old, new)) not in (None, of_cell(digest, known))


def test_the_order_of_weights_counts(digest, known):
    lines = CELL.splitlines()
    at = next(index for index, line in enumerate(lines) if "self.b =" in line)
    lines[at : at + 2] = reversed(lines[at : at + 2])
    assert digest("\n".join(lines)) not in (None, of_cell(digest, known))


def test_the_first_weights_are_those_of_the_seed(digest, known):
    assert digest(CELL, *WORDS, "task.digits=1", "seed=1") != of_cell(digest, known)


def test_what_a_graph_hides_is_never_equal(digest):
    hidden = "h = tf.ensure_shape(tf.numpy_function(lambda a: a, [h], tf.float32), h.shape); return h, [h]"
    assert digest(CELL.replace("return h, [h]", hidden)) is None


def test_a_model_that_reads_its_answer_is_compared_too(digest):
    words = ["architecture=reader", "task.digits=1"]
    first = digest(READER, *words)
    assert first is not None
    assert digest(READER.replace("    read =", "    seen =").replace("return read", "return seen"), *words) == first
    assert digest(READER.replace("axis=1)", "axis=1) * 2"), *words) != first


def test_a_task_with_other_groups_computes_other_metrics(digest):
    words = ["task=echo", "cell=dense", "architecture=aligned", "encoder_units=3", "decoder_units=null"]
    first = digest(TASK, *words)
    assert first is not None
    assert digest(TASK.replace("len(question)", "1"), *words) != first


def test_only_models_with_own_parts_are_traced(monkeypatch):
    monkeypatch.setattr("seqadd.training.computes.computes", lambda *of: pytest.fail("was traced"))
    config = load_config("task.digits=1", *SIZES)
    assert what_computes(None, config, make_dataset(config)) is None
