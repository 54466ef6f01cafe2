"""Own parts are checked before anything is trained: each planted mistake is named in one line, with file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from documented import CLONE, EXAMPLES, snippets_of
from own_parts import architecture, cell

from seqadd import ConfigError, load_config
from seqadd.config.part_schema import declare
from seqadd.config.schema import Config


def check(config: Config) -> object:
    from seqadd.evaluation.part_check import check_parts

    return check_parts(config)


def test_a_sound_cell_is_measured(own: Callable[[str], None]) -> None:
    own(cell())
    found = check(load_config("cell=mine", "encoder_units=8", "decoder_units=6"))
    # Kernels and recurrent kernels of encoder and decoder; the last dense layer with its bias.
    assert found.parameters == (12 * 8 + 8 * 8) + (8 * 6 + 6 * 6) + (6 * 12 + 12)
    assert found.multiplications >= 7 * (12 * 8 + 8 * 8) + 4 * 6 * 6


@pytest.mark.parametrize(
    ("call", "build", "said"),
    [
        ("return h", "pass", "call returns EagerTensor; it must return (output, states)"),
        (
            "return h, [h, h]",
            "pass",
            "call returns states of shapes [(2, 64), (2, 64)] for a batch of 2; state_size says",
        ),
        ("return h, [h]", "self.X = self.add_weight(shape=(3,), name='unused')", "unused, shape (3,), has no gradient"),
        ("return h / 0, [h]", "pass", "outputs with the first weights are not finite"),
        ("h = h - ops.mean(h, axis=0); return h, [h]", "pass", "depends on the other questions of the batch"),
        (
            "h = h + keras.random.normal((self.units,)); return h, [h]",
            "pass",
            "draws random numbers that do not follow from the run's seed",
        ),
        ("self.add_loss(ops.sum(h)); return h, [h]", "pass", "adds 11 losses (add_loss or a regularizer)"),
        ("return nothing, [h]", "pass", "NameError: name 'nothing' is not defined"),
    ],
)
def test_a_mistake_of_a_cell_is_named(own: Callable[[str], None], call: str, build: str, said: str) -> None:
    own(cell(call, build))
    with pytest.raises(ConfigError) as refused:
        check(load_config("cell=mine"))
    assert said in str(refused.value)
    assert str(refused.value).startswith("own_")
    assert ":7: cell=mine: " in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("architecture_of", ["encoder_decoder", "attention", "readout"])
def test_a_cell_whose_output_is_not_its_state_is_refused_where_it_would_be_taken_for_it(
    own: Callable[[str], None], architecture_of: str
) -> None:
    own(cell("return 2 * h, [h]"))
    with pytest.raises(
        ConfigError, match=f"its output is not its first state, as architecture={architecture_of} needs"
    ):
        check(load_config("cell=mine", f"architecture={architecture_of}"))


DENSE = "layers.RepeatVector(answer_length)(layers.Dense(8, activation='tanh')(layers.Flatten()(question)))"
ATTENTION = "layers.MultiHeadAttention(1, 8)(previous, previous{})"


@pytest.mark.parametrize(
    ("body", "reads_answer", "said"),
    [
        ("return question", False, "returns features of shape (None, 7, 12); it must be (None, 4, n)"),
        ("return 3", False, "returns int; it must return the features, a Keras tensor"),
        (f"{DENSE}", False, "returns NoneType"),
        (f"return {DENSE} + layers.Dense(8)(ops.ones((1, 3)))[:, None]", False, "is not the model's: Keras leaves out"),
        (
            "return layers.Dense(8, activity_regularizer='l2')(" + DENSE + ")",
            False,
            "adds 1 losses (add_loss or a regularizer)",
        ),
        (f"return {ATTENTION.format('')}", True, "character 1 of the answer depends on characters that come after it"),
        ("return previous[:, ::-1]", True, "depends on characters that come after it"),
    ],
)
def test_a_mistake_of_an_architecture_is_named(
    own: Callable[[str], None], body: str, reads_answer: bool, said: str
) -> None:
    own(architecture(body, reads_answer=reads_answer))
    with pytest.raises(ConfigError) as refused:
        check(load_config("architecture=mine"))
    assert said in str(refused.value)
    assert ":7: architecture=mine: " in str(refused.value)


@pytest.mark.parametrize(
    ("body", "reads_answer"),
    [
        (f"return {DENSE}", False),
        (f"return {ATTENTION.format(', use_causal_mask=True')}", True),
        ("return layers.Dropout(0.5)(layers.Dense(8)(previous))", True),
    ],
)
def test_a_sound_architecture_passes(own: Callable[[str], None], body: str, reads_answer: bool) -> None:
    own(architecture(body, reads_answer=reads_answer))
    assert check(load_config("architecture=mine")).parameters > 0


def test_a_model_that_reads_its_answer_answers_alone_as_under_its_own_beginnings(own: Callable[[str], None]) -> None:
    """Greedy decoding, beam search of width 1 and one pass over the model's own answer agree."""
    own(
        architecture(
            "return layers.Dense(12)(previous) + layers.Dense(12)(ops.mean(question, axis=1))[:, None]",
            reads_answer=True,
        )
    )
    import tensorflow as tf

    from seqadd.models.architectures import build_model
    from seqadd.models.self_reading import shift_right

    config = load_config("architecture=mine")
    model = build_model(config, 7, 5, 12)
    questions = tf.one_hot(np.random.default_rng(0).integers(0, 12, size=(6, 7)), 12)
    alone = model.greedy_decode(questions).numpy()
    ids = alone.argmax(axis=-1)
    taught = model([questions, shift_right(tf.constant(ids), 12)]).numpy()
    until_blank = np.cumsum(ids == 0, axis=1) - (ids == 0) == 0
    np.testing.assert_allclose(alone[until_blank], taught[until_blank], atol=1e-6)
    found, _ = model.beam_search(questions, 1)
    assert (found[:, 0].numpy() == ids).all()
    everywhere = model.scheduled_sampling_forward(questions, tf.constant(ids), tf.ones((6, 5), tf.bool)).numpy()
    np.testing.assert_allclose(everywhere, taught, atol=1e-6)
    nowhere = model.scheduled_sampling_forward(questions, tf.constant(ids), tf.zeros((6, 5), tf.bool)).numpy()
    np.testing.assert_allclose(nowhere[until_blank], alone[until_blank], atol=1e-6)


SHOWN = [
    ["architecture=transformer", "transformer.width=8", "transformer.blocks=1", "task=subtraction"],
    ["architecture=mine", "mine.width=8", "cell=mgu"],
]


@pytest.mark.parametrize("words", SHOWN)
def test_the_examples_and_the_architecture_of_the_page_pass(
    own: Callable[[str], None], tmp_path: Path, words: list[str]
) -> None:
    (shown,) = (each for each in snippets_of(CLONE / "docs" / "extend.md") if each.startswith("@seqadd.architecture"))
    (tmp_path / "shown.py").write_text(f"import keras\nimport seqadd\n{shown}", encoding="utf-8")
    parts = declare([*EXAMPLES, tmp_path / "shown.py"])
    assert {part.choice for part in parts} <= {word for words in SHOWN for word in words}
    assert check(load_config(*words)).parameters > 0
