"""Our loop over the steps against Keras' own layers: same weights, same outputs, same gradients; and used as theirs."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_config

from seqadd.models import architectures, cells, recurrent
from seqadd.models.encoder_decoder import EncoderDecoder
from seqadd.models.self_reading import shift_right

SETTINGS = [
    ("LSTM", {}),
    ("LSTM", {"recurrent_activation": "hard_sigmoid"}),
    ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False}),
    ("SimpleRNN", {}),
]


def agree_with_keras(name, settings, x, *, jit=False, repeat=None, initial_state=None, **ours_only):
    """Asserts that output and gradients of our layer are those of Keras' layer with the same weights."""
    rng = np.random.default_rng(1)
    x = tf.constant(x, tf.float32)
    theirs = getattr(keras.layers, name)(6, **settings)
    ours = getattr(recurrent, name)(6, **settings, **ours_only)
    for layer in (theirs, ours):
        layer.build((None, None, x.shape[-1]))
    theirs.set_weights([rng.normal(size=weight.shape) for weight in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())

    def output_and_gradients(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            sequences = x if repeat is None else tf.repeat(x[:, None], repeat, axis=1)
            output = layer(sequences, initial_state=initial_state)
            loss = tf.reduce_sum(output * tf.cos(output))
        return output, tape.gradient(loss, [x, *layer.trainable_variables])

    expected, expected_gradients = output_and_gradients(theirs)
    computed = tf.function(output_and_gradients, jit_compile=True) if jit else output_and_gradients
    output, gradients = computed(ours)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-4)


# XLA compiles three steps, in which it sees a first one, one with a state from before, and a last one. It compiles each
# cell twice: for an input that changes, and for a constant one with a state to start from.


@pytest.mark.parametrize(("return_sequences", "jit"), [(False, False), (True, True)])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_outputs_and_gradients_equal_those_of_keras(name, settings, return_sequences, jit):
    x = np.random.default_rng(0).normal(size=(3, 3, 4))
    agree_with_keras(name, {"return_sequences": return_sequences, **settings}, x, jit=jit)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_a_constant_input_is_used_once_and_gives_the_same(name, settings):
    x = np.random.default_rng(0).normal(size=(3, 4))
    agree_with_keras(name, {"return_sequences": True, **settings}, x, repeat=5, constant_input=True)


def states_for(name, x):
    return [tf.constant(x[:, i, None] * np.ones(6), tf.float32) for i in range(2 if name == "LSTM" else 1)]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_an_initial_state_is_started_from(name, settings):
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    agree_with_keras(name, {"return_sequences": True, **settings}, x, initial_state=states_for(name, x[:, 0]))


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_xla_starts_from_a_state_and_reads_a_constant_input(name, settings):
    x = np.random.default_rng(0).normal(size=(3, 4))
    agree_with_keras(name, settings, x, jit=True, repeat=3, constant_input=True, initial_state=states_for(name, x))


@pytest.mark.parametrize(
    ("constant_input", "products"),
    [
        # Forward 5, for input and state come in one; back to 5 inputs, to 4 states and to the weights in 5.
        (False, 5 + 5 + 4 + 5),
        # The input: forward, back and weights barrier; the states of 4 steps each of these too.
        (True, 3 + 3 * 4),
    ],
)
def test_no_product_is_made_that_a_step_does_not_need(constant_input, products):
    """Of a SimpleRNN with 5 steps, the first of them without a state, and of its gradient."""
    layer = recurrent.SimpleRNN(6, constant_input=constant_input)
    layer.build((3, 5, 4))

    @tf.function(jit_compile=True)
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            sequences = tf.repeat(x[:, :1], 5, axis=1) if constant_input else x
            loss = tf.reduce_sum(layer(sequences) ** 2)
        return tape.gradient(loss, [x, *layer.trainable_variables])

    hlo = gradients.experimental_get_compiler_ir(tf.zeros((3, 5, 4)))(stage="optimized_hlo")
    assert len(re.findall(r" dot\(", hlo)) == products


def test_a_fusion_barrier_changes_nothing():
    x = tf.constant([1.5, -2.25, 1e-30])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = recurrent.fusion_barrier(x, tf.constant(1.0))
    assert y.numpy().tolist() == x.numpy().tolist()
    assert tape.gradient(y, x).numpy().tolist() == [1, 1, 1]


def test_xla_keeps_the_divisions_that_keep_states_from_being_computed_again():
    """The trick rests on a habit of the compiler; should XLA drop a division by one some day, this is the alarm."""
    layer = recurrent.LSTM(6, recurrent_activation=cells.hard_sigmoid_of_keras2)  # XLA writes a sigmoid as a division
    layer.build((3, 5, 4))

    @tf.function(jit_compile=True)
    def compute(x):
        return layer(x)

    optimised = compute.experimental_get_compiler_ir(tf.zeros((3, 5, 4)))(stage="optimized_hlo")
    assert "divide(" in optimised


def test_a_mask_is_refused():
    with pytest.raises(NotImplementedError, match="without a mask"):
        recurrent.LSTM(6)(np.zeros((3, 5, 4), dtype=np.float32), mask=np.ones((3, 5), dtype=bool))


def test_a_setting_that_the_steps_would_ignore_is_refused():
    with pytest.raises(NotImplementedError, match="GRU of seqadd knows no dropout"):
        recurrent.GRU(6, dropout=0.1)


# As layers of Keras: saved, loaded, copied, wrapped, given states and batches of all kinds.


NAMES = ["LSTM", "GRU", "SimpleRNN"]
#: Two of four characters are blanks.
ONE_HOT = np.eye(12, dtype=np.float32)[[[0, 3, 0, 5], [7, 0, 2, 11], [1, 0, 0, 9]]]


def layer_of(kind: str, **settings: Any) -> keras.layers.Layer:
    """A layer for ``ONE_HOT`` without a zero among its weights, the same for the same shapes."""
    layer = getattr(recurrent, kind)(6, **settings)
    layer.build((None, 4, 12))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


def equal(ours: Any, theirs: Any) -> bool:
    """Whether tensors, or lists of them, are equal to the bit."""
    ours, theirs = (keras.tree.flatten(each) for each in (ours, theirs))
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


@keras.saving.register_keras_serializable(package="tests")
class Doubled(recurrent.GRU):
    """A subclass with a setting of its own."""

    def __init__(self, units: int, factor: float = 2.0, **settings: Any) -> None:
        super().__init__(units, **settings)
        self.factor = factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}

    def call(self, sequences: tf.Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        return self.factor * super().call(sequences, initial_state, mask, training)


def reloaded(model: keras.Model, path: Path) -> keras.Model:
    model.save(path)
    return keras.models.load_model(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"skip_blanks": True, "return_sequences": True},
        {"constant_input": True, "return_state": True, "go_backwards": True, "dtype": "float64", "trainable": False},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("name", "of_cell"),
    [
        ("LSTM", {"recurrent_activation": cells.hard_sigmoid_of_keras2}),
        ("LSTM", {}),
        ("GRU", {"recurrent_activation": cells.hard_sigmoid_of_keras2, "reset_after": False}),
        ("GRU", {"reset_after": True}),
        ("SimpleRNN", {}),
    ],
)
def test_a_layer_is_loaded_as_it_was_saved(name, of_cell, settings, tmp_path):
    layer = layer_of(name, **of_cell, **settings, name="its_name")
    question = keras.Input((4, 12))
    model = keras.Model(question, layer(question))
    copies = [reloaded(model, tmp_path / f"model{suffix}") for suffix in (".keras", ".h5")]
    copies.append(keras.models.clone_model(model))
    copies[-1].set_weights(model.get_weights())
    for copy in copies:
        assert equal(copy(ONE_HOT), model(ONE_HOT))
        assert type(copy.layers[1]) is type(layer)
        assert copy.layers[1].get_config() == layer.get_config()
        assert copy.layers[1].trainable == layer.trainable


def test_a_subclass_is_loaded_with_its_setting_and_ours(tmp_path):
    model = keras.Sequential([keras.Input((4, 12)), Doubled(6, factor=3.0, skip_blanks=True)])
    copy = reloaded(model, tmp_path / "model.keras")
    assert equal(copy(ONE_HOT), model(ONE_HOT))
    assert (copy.layers[0].factor, copy.layers[0].skip_blanks) == (3.0, True)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", NAMES)
def test_keras_own_layer_does_not_take_what_ours_has_saved(name, suffix, tmp_path, monkeypatch):
    """With ``skip_blanks`` it would compute other numbers."""
    path, own = tmp_path / f"model{suffix}", getattr(keras.layers, name)
    keras.Sequential([keras.Input((4, 12)), layer_of(name)]).save(path)
    monkeypatch.delitem(keras.saving.get_custom_objects(), f"seqadd>{name}")  # as where seqadd is not imported
    said = f"Could not locate class '{name}'|Unknown layer: 'seqadd>{name}'"
    with pytest.raises((TypeError, ValueError), match=said):
        keras.models.load_model(path, custom_objects={name: own})
    with pytest.raises(ValueError, match=r"Unrecognized keyword arguments.*constant_input.*skip_blanks"):
        keras.models.load_model(path, custom_objects={f"seqadd>{name}": own})


MODELS = [
    *([f"architecture={name}"] for name in architectures.ARCHITECTURES),
    ["architecture=encoder_decoder", "peek=true", "cell=gru"],
    ["architecture=attention", "score=dot", "cell=gru", "era=keras3"],
]


def built(*overrides: str) -> tuple[keras.Model, Any]:
    """A small model and what it is called with."""
    model = architectures.build_model(make_config("cell=simple_rnn", "encoder_units=3", *overrides), 3, 3, 12)
    rng = np.random.default_rng(0)
    for weights in model.weights:
        weights.assign(0.5 * rng.normal(size=weights.shape))
    return model, [ONE_HOT[:, :3], ONE_HOT[:, 1:]] if isinstance(model, EncoderDecoder) else ONE_HOT[:, :3]


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_every_model_is_loaded_as_it_was_saved(overrides, tmp_path):
    model, inputs = built(*overrides)
    model.layers[-2].trainable = False
    copy = reloaded(model, tmp_path / "model.keras")
    assert type(copy) is type(model)
    assert equal(copy(inputs), model(inputs))
    of_copy, of_model = ([(layer.name, layer.trainable) for layer in each.layers] for each in (copy, model))
    assert of_copy == of_model
    assert equal(copy.get_weights(), model.get_weights())
    if isinstance(model, EncoderDecoder):
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        for each in (copy, clone):
            assert equal(each.greedy_decode(inputs[0]), model.greedy_decode(inputs[0]))
            assert (each.answer_length, list(each.inside)) == (3, list(model.inside))


@pytest.mark.parametrize("architecture", ["encoder_decoder", "attention", "pooled"])
def test_a_file_that_could_not_be_loaded_is_not_written(architecture, tmp_path):
    model, _ = built(f"architecture={architecture}")
    with pytest.raises(ValueError, match=r"model\.h5: \w+ cannot be loaded from this older format; save it as \.keras"):
        model.save(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


def test_an_encoder_decoder_of_another_graph_is_refused():
    question = keras.Input((3, 12))
    with pytest.raises(ValueError, match="no encoder with a decoder; build_encoder_decoder makes one"):
        EncoderDecoder(question, keras.layers.Dense(12)(recurrent.LSTM(6)(question)))


@pytest.mark.parametrize(("name", "return_state"), [("LSTM", False), ("LSTM", True), ("GRU", False)])
def test_both_directions_are_those_of_keras(name, return_state, tmp_path):
    both = [
        keras.layers.Bidirectional(
            getattr(module, name)(6, return_sequences=not return_state, return_state=return_state)
        )
        for module in (keras.layers, recurrent)
    ]
    for each in both:
        each.build((None, 4, 12))
    both[1].set_weights(both[0].get_weights())
    for theirs, ours in zip(*(keras.tree.flatten(each(ONE_HOT)) for each in both), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    model = keras.Sequential([keras.Input((4, 12)), both[1]])
    assert equal(reloaded(model, tmp_path / "model.keras")(ONE_HOT), model(ONE_HOT))


def test_no_kernel_of_a_gpu_computes_both_directions_from_the_weights_alone():
    """Keras would ask one that knows of no blanks."""
    both = keras.layers.Bidirectional(recurrent.LSTM(6, skip_blanks=True))
    both.build((None, 4, 12))
    assert not both._can_attempt_fused_lstm(None)


@pytest.mark.parametrize("name", NAMES)
def test_distributed_over_time_it_is_the_layer_at_each_time(name):
    layer = layer_of(name, skip_blanks=True)
    times = np.stack([ONE_HOT, ONE_HOT[::-1]], axis=1)
    found = keras.layers.TimeDistributed(layer)(times)
    np.testing.assert_allclose(found, np.stack([layer(ONE_HOT), layer(ONE_HOT[::-1])], axis=1), atol=1e-6)


@pytest.mark.parametrize("constant_input", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_states_may_come_in_any_form(name, constant_input):
    layer = layer_of(name, constant_input=constant_input)
    states = [np.full((3, 6), 0.1 * (1 + n)) for n in range(len(layer.state_size))]
    tensors = [tf.constant(state, tf.float32) for state in states]
    expected = layer(ONE_HOT, initial_state=tensors)
    forms = [states, tuple(states), tuple(tensors), [tf.Variable(state) for state in tensors]]
    forms += [states[0], tensors[0]] if len(states) == 1 else []
    for form in forms:
        assert equal(layer(ONE_HOT, initial_state=form), expected)
    assert equal(layer(ONE_HOT, initial_state=None), layer(ONE_HOT))
    assert not equal(layer(ONE_HOT), expected)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("LSTM", (3, 6)),
        ("LSTM", [(3, 6)]),
        ("LSTM", [(3, 6), (3, 5)]),
        ("GRU", (6,)),
        ("GRU", (1, 6)),
        ("GRU", []),
        ("SimpleRNN", [(3, 6), (3, 6)]),
    ],
)
def test_states_that_cannot_be_are_refused(name, shapes):
    states = [np.zeros(shape) for shape in shapes] if isinstance(shapes, list) else np.zeros(shapes)
    n = 2 if name == "LSTM" else 1
    said = f"must be one array of shape \\(3, 6\\) for each state of {name}, in a list of {n}"
    with pytest.raises(ValueError, match=said):
        layer_of(name, constant_input=True)(ONE_HOT, initial_state=states)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("LSTM", {"skip_blanks": True}), ("GRU", {"return_sequences": True}), ("SimpleRNN", {"constant_input": True})],
)
def test_a_batch_may_be_empty(name, settings):
    layer = layer_of(name, **settings)
    of_any_size = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec((None, 4, 12))])
    assert layer(ONE_HOT[:0]).shape == of_any_size(ONE_HOT[:0]).shape == (0, *layer(ONE_HOT).shape[1:])
    np.testing.assert_allclose(of_any_size(ONE_HOT), layer(ONE_HOT), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, None, 12), (3, 0, 12)])
def test_steps_without_a_number_are_refused(shape):
    layer = recurrent.GRU(6, name="a_gru")
    layer.build((3, 4, 12))
    with pytest.raises(ValueError, match=rf"a_gru: an input of .* has {shape[1]} steps; their number must be known"):
        tf.function(layer).get_concrete_function(tf.TensorSpec(shape))


@pytest.mark.parametrize(
    ("name", "of_cell", "policy"),
    [*((*each, "float64") for each in SETTINGS), *((*each, "mixed_bfloat16") for each in SETTINGS[1:3]),
     ("SimpleRNN", {}, "float16"), ("GRU", {"reset_after": False}, "mixed_float16")],
)  # fmt: skip
def test_it_computes_under_every_policy(name, of_cell, policy):
    expected = layer_of(name, **of_cell, skip_blanks=True)(ONE_HOT)
    layer = layer_of(name, **of_cell, skip_blanks=True, dtype=policy)
    with tf.GradientTape() as tape:
        found = layer(ONE_HOT)
    assert found.dtype == layer.compute_dtype
    np.testing.assert_allclose(tf.cast(found, tf.float32), expected, atol=1e-6 if policy == "float64" else 0.1)
    gradients = tape.gradient(found, layer.trainable_variables)
    assert [gradient.dtype for gradient in gradients] == [layer.variable_dtype] * len(gradients)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_cannot_be_drawn_are_refused(name):
    said = "draws no orthogonal first weights in bfloat16; dtype='mixed_bfloat16' computes in it"
    with pytest.raises(NotImplementedError, match=said):
        getattr(recurrent, name)(6, dtype="bfloat16")


@pytest.fixture
def policy(request):
    """A policy of all layers that are made."""
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["float64"], indirect=True)
@pytest.mark.parametrize("architecture", ["readout", "encoder_decoder", "attention"])
def test_a_model_computes_in_float64(architecture, policy, tmp_path):
    model, inputs = built(f"architecture={architecture}")
    assert model(inputs).dtype == tf.float64
    if isinstance(model, EncoderDecoder):
        ids = ONE_HOT[:, 1:].argmax(axis=-1)
        told = model.scheduled_sampling_forward(inputs[0], ids, tf.ones((3, 3), tf.bool))
        np.testing.assert_allclose(told, model([inputs[0], shift_right(tf.constant(ids), 12).numpy()]), atol=1e-9)
        answers, scores = model.beam_search(inputs[0], 1)
        assert (answers[:, 0].numpy() == model.greedy_decode(inputs[0]).numpy().argmax(axis=-1)).all()
        assert scores.dtype == tf.float64
    # Loaded, it does not follow the policy of the day.
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    assert equal(keras.models.load_model(tmp_path / "model.keras")(inputs), model(inputs))


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_in_half_of_the_bits_it_is_taught_and_answers_nothing_on_its_own(policy):
    model, inputs = built("architecture=attention")
    assert model(inputs).dtype == tf.float16
    said = "answers on its own in float32 or float64; its policy is mixed_float16: build it under another"
    for answered in (lambda: model.greedy_decode(ONE_HOT), lambda: model.beam_search(ONE_HOT, 1)):
        with pytest.raises(NotImplementedError, match=said):
            answered()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "settings"),
    [("LSTM", {"skip_blanks": True, "return_state": True}), ("GRU", {"constant_input": True}), ("GRU", {}),
     ("SimpleRNN", {"dtype": "float64"})],
)  # fmt: skip
def test_what_is_no_number_stays_in_its_row(name, settings, value):
    """At the place, too, of which the 1 is made that states are divided by."""
    layer, broken = layer_of(name, **settings), ONE_HOT.copy()
    broken[0] = value
    found, expected = (keras.tree.flatten(layer(x)) for x in (broken, ONE_HOT))
    assert equal([each[1:] for each in found], [each[1:] for each in expected])
    assert not equal(found, expected)


@pytest.mark.parametrize("architecture", ["readout", "encoder_decoder", "attention"])
def test_what_is_no_number_stays_in_its_row_of_a_model(architecture):
    model, inputs = built(f"architecture={architecture}")
    expected = model(inputs).numpy()
    broken = keras.tree.map_structure(np.copy, inputs)
    for array in keras.tree.flatten(broken):
        array[0] = np.nan
    found = model(broken).numpy()
    assert np.isnan(found[0]).any()
    assert equal(found[1:], expected[1:])
