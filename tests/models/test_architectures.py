"""Shapes and names as the article prints them, and a step of each cell in each era computed by hand."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import make_config

from seqadd.config import schema
from seqadd.models import architectures, cells


def build(*overrides: str) -> keras.Model:
    chosen = make_config(*overrides)
    return architectures.build_model(chosen, 7, chosen.answer_length, 12)


def test_the_articles_summary():
    """The table printed in the article, layer by layer; its TimeDistributed(Dense) is a Dense here."""
    summary = [
        (layer.name, type(layer).__name__, layer.output.shape, layer.count_params())
        for layer in build("cell=lstm").layers[1:]
    ]
    assert summary == [
        ("lstm_1", "LSTM", (None, 64), 19_712),
        ("repeat_vector_1", "RepeatVector", (None, 4, 64), 0),
        ("lstm_2", "LSTM", (None, 4, 32), 12_416),
        ("time_distributed_1", "Dense", (None, 4, 12), 396),
        ("activation_1", "Activation", (None, 4, 12), 0),
    ]


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [
        # encoder: gates * (64 * (12 + 64) + biases * 64); decoder: gates * (32 * (64 + 32) + biases * 32)
        (["cell=gru"], [3 * 64 * (76 + 1), 3 * 32 * (96 + 1)]),
        (["cell=gru", "era=keras3"], [3 * 64 * (76 + 2), 3 * 32 * (96 + 2)]),
        (["cell=simple_rnn"], [64 * (76 + 1), 32 * (96 + 1)]),
        (["cell=lstm", "encoder_units=128", "decoder_units=128"], [4 * 128 * (140 + 1), 4 * 128 * (256 + 1)]),
    ],
)
def test_parameters_of_the_other_cells_and_widths(overrides, parameters):
    _, first, _, second, *_ = build(*overrides).layers
    assert [first.count_params(), second.count_params()] == parameters


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn", "dense"])
def test_an_aligned_model_answers_at_every_step(cell):
    model = build(f"cell={cell}", "architecture=aligned")
    assert [layer.name for layer in model.layers[1:]] == [f"{cell}_1", "time_distributed_1", "activation_1"]
    assert model.output_shape == (None, 7, 12)


def test_a_dense_model_sees_one_character_at_a_time():
    model = build("cell=dense")
    one, other = np.zeros((2, 1, 7, 12), dtype=np.float32)
    one[0, :, 3] = other[0, :, 3] = 1
    other[0, 6] = np.eye(12)[9]
    different = np.abs(np.array(model(one)) - np.array(model(other))).max(axis=(0, 2)) > 1e-6
    assert different.tolist() == [False] * 6 + [True]


def test_probabilities_of_each_character_sum_to_one():
    output = np.array(build("cell=gru")(np.eye(12, dtype=np.float32)[np.arange(7)][None]))
    np.testing.assert_allclose(output.sum(axis=-1), 1, rtol=1e-5)


def test_first_weights_follow_from_the_seed():
    weights = [build(f"seed={seed}").get_weights() for seed in (5, 5, 6)]
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not np.array_equal(weights[0][0], weights[2][0])


def test_every_configurable_name_has_its_function():
    assert tuple(cells.CELLS) == schema.CELLS
    assert tuple(architectures.ARCHITECTURES) == schema.ARCHITECTURES
    assert tuple(cells.GATE_ACTIVATION) == tuple(cells.GRU_RESET_AFTER) == schema.ERAS


def with_weights(*overrides: str) -> tuple[keras.Model, np.ndarray]:
    """A small model without a zero among its weights, and a question, one-hot."""
    model = build("cell=simple_rnn", "encoder_units=3", "decoder_units=2", *overrides)
    rng = np.random.default_rng(0)
    for weights in model.weights:
        weights.assign(rng.normal(size=weights.shape))
    return model, np.eye(12, dtype=np.float32)[rng.integers(0, 12, 7)]


def rnn(weights: list[np.ndarray], inputs: np.ndarray, state: np.ndarray) -> list[np.ndarray]:
    """The states after each step of a SimpleRNN."""
    kernel, recurrent_kernel, bias = weights
    states = []
    for x in inputs:
        state = np.tanh(x @ kernel + state @ recurrent_kernel + bias)
        states.append(state)
    return states


def characters(model: keras.Model, features: list[np.ndarray]) -> np.ndarray:
    kernel, bias = model.get_layer("time_distributed_1").get_weights()
    return softmax(np.array(features) @ kernel + bias)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def test_a_readout_decoder_reads_its_own_output_and_no_character():
    model, question = with_weights("architecture=readout")
    encoded = rnn(model.get_layer("simple_rnn_1").get_weights(), question, np.zeros(3))[-1]
    kernel, bias = model.get_layer("first_readout").get_weights()
    decoder = model.get_layer("readout_simple_rnn_2")
    state, read, features = encoded, encoded @ kernel + bias, []
    for _ in range(4):
        (state,) = rnn(decoder.recurrent.get_weights(), [read], state)
        kernel, bias = decoder._readout.get_weights()
        read = np.tanh(state @ kernel + bias)
        features.append(read)
    np.testing.assert_allclose(model(question[None])[0], characters(model, features), atol=1e-5)


def test_a_pooled_model_looks_at_the_same_places_for_every_character():
    """The library's attention, its state's part included, which no softmax sees."""
    model, question = with_weights("architecture=pooled")
    forward = rnn(model.get_layer("simple_rnn_1").get_weights(), question, np.zeros(3))
    backward = rnn(model.get_layer("simple_rnn_1_backward").get_weights(), question[::-1], np.zeros(3))[::-1]
    outputs = np.array(forward) + np.array(backward)
    kernel, bias = model.get_layer("score_1").get_weights()
    state, features = np.zeros(3), []
    for _ in range(4):
        of_the_state = state @ np.array([3.0, -2.0, 5.0])  # whatever its weights are
        shares = softmax(outputs @ kernel[:, 0] + bias + of_the_state)
        (state,) = rnn(model.get_layer("simple_rnn_2").get_weights(), [shares @ outputs], state)
        kernel_0, bias_0 = model.get_layer("time_distributed_0").get_weights()
        features.append(np.tanh(state @ kernel_0 + bias_0))
    np.testing.assert_allclose(model(question[None])[0], characters(model, features), atol=1e-5)


def test_parameters_of_the_models_of_the_second_script():
    """Hidden 64, output 32: an LSTM of n inputs has 4 * 64 * (n + 64 + 1) parameters."""
    of_characters = 12 * 33
    assert {name: build(f"architecture={name}").count_params() for name in
            ("repeat_vector_stacked", "readout", "pooled")} == {
        "repeat_vector_stacked": 19_712 + 12_416 + 4 * 32 * (32 + 32 + 1) + of_characters,
        "readout": 19_712 + 32 * 65 + 4 * 64 * (32 + 64 + 1) + 32 * 65 + of_characters,
        "pooled": 2 * 19_712 + 65 + 4 * 64 * (64 + 64 + 1) + 32 * 65 + of_characters,
    }  # fmt: skip


# Steps by hand, from the equations in Keras' documentation and the source of Keras 2.2; two steps, so that the
# recurrence counts. float64 in numpy against float32 in Keras.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.minimum(np.maximum(0.2 * x + 0.5, 0), 1)


GATE = {"keras2": hard_sigmoid, "keras3": sigmoid}
UNITS = 3


def one_layer(cell: str, era: str):
    """A layer with weights of a size at which gates saturate, its weights, and two steps of input."""
    rng = np.random.default_rng(7)
    layer = cells.CELLS[cell](UNITS, era, return_sequences=True, name="layer")
    layer.build((1, 2, 4))
    weights = [2 * rng.normal(size=weight.shape) for weight in layer.get_weights()]
    layer.set_weights(weights)
    inputs = 2 * rng.normal(size=(2, 4))
    return np.array(layer(inputs[None].astype(np.float32)))[0], weights, inputs


@pytest.mark.parametrize("era", ["keras2", "keras3"])
def test_lstm_by_hand(era):
    output, (kernel, recurrent_kernel, bias), inputs = one_layer("lstm", era)
    h = c = np.zeros(UNITS)
    for x, out in zip(inputs, output, strict=True):
        i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4)
        c = GATE[era](f) * c + GATE[era](i) * np.tanh(g)
        h = GATE[era](o) * np.tanh(c)
        np.testing.assert_allclose(out, h, atol=1e-5)


def test_gru_by_hand_in_keras2_resets_before_the_product():
    output, (kernel, recurrent_kernel, bias), inputs = one_layer("gru", "keras2")
    assert bias.shape == (3 * UNITS,)
    h = np.zeros(UNITS)
    for x, out in zip(inputs, output, strict=True):
        x_z, x_r, x_h = np.split(x @ kernel + bias, 3)
        u_z, u_r, u_h = np.split(recurrent_kernel, 3, axis=1)
        z, r = hard_sigmoid(x_z + h @ u_z), hard_sigmoid(x_r + h @ u_r)
        h = z * h + (1 - z) * np.tanh(x_h + (r * h) @ u_h)
        np.testing.assert_allclose(out, h, atol=1e-5)


def test_gru_by_hand_in_keras3_resets_after_the_product():
    output, (kernel, recurrent_kernel, bias), inputs = one_layer("gru", "keras3")
    assert bias.shape == (2, 3 * UNITS)
    h = np.zeros(UNITS)
    for x, out in zip(inputs, output, strict=True):
        x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3)
        h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        h = z * h + (1 - z) * np.tanh(x_h + r * h_h)
        np.testing.assert_allclose(out, h, atol=1e-5)


@pytest.mark.parametrize("era", ["keras2", "keras3"])
def test_simple_rnn_by_hand(era):
    output, (kernel, recurrent_kernel, bias), inputs = one_layer("simple_rnn", era)
    h = np.zeros(UNITS)
    for x, out in zip(inputs, output, strict=True):
        h = np.tanh(x @ kernel + h @ recurrent_kernel + bias)
        np.testing.assert_allclose(out, h, atol=1e-5)


def test_the_gates_of_2018_are_not_todays_hard_sigmoid():
    x = np.array([-3, -2.5, -1, 0, 1, 2.5, 3], dtype=np.float32)
    ours = np.array(cells.hard_sigmoid_of_keras2(keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(ours, [0, 0, 0.3, 0.5, 0.7, 1, 1], atol=1e-6)
    np.testing.assert_allclose(keras.activations.hard_sigmoid(x), [0, 1 / 12, 1 / 3, 0.5, 2 / 3, 11 / 12, 1], atol=1e-6)


def test_the_forget_bias_starts_at_one():
    kernel, recurrent_kernel, bias = build("cell=lstm").layers[1].get_weights()
    assert bias.tolist() == [0] * 64 + [1] * 64 + [0] * 128
    np.testing.assert_allclose(recurrent_kernel @ recurrent_kernel.T, np.eye(64), atol=1e-5)
    assert np.abs(kernel).max() <= np.sqrt(6 / (12 + 256))  # Glorot's uniform limit


# Models as a whole: a layer of theirs could follow another era than the configuration says.


def states_by_hand(cell: str, era: str, weights: list[np.ndarray], inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of a recurrent layer after each step, as in the tests above; from a state of zeros."""
    kernel, recurrent_kernel, bias = weights
    gate, units = GATE[era], len(recurrent_kernel)
    h, c = np.zeros(units), np.zeros(units)
    outputs = []
    for x in inputs:
        if cell == "lstm":
            i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4)
            c = gate(f) * c + gate(i) * np.tanh(g)
            h = gate(o) * np.tanh(c)
        elif cell == "gru":
            of_input, of_state = bias if era == "keras3" else (bias, np.zeros(3 * units))
            x_z, x_r, x_h = np.split(x @ kernel + of_input, 3)
            h_z, h_r, h_h = np.split(h @ recurrent_kernel + of_state, 3)
            z, r = gate(x_z + h_z), gate(x_r + h_r)
            recurrent = r * h_h if era == "keras3" else (r * h) @ recurrent_kernel[:, 2 * units :]
            h = z * h + (1 - z) * np.tanh(x_h + recurrent)
        else:
            h = np.tanh(x @ kernel + h @ recurrent_kernel + bias)
        outputs.append(h)
    return outputs


@pytest.mark.parametrize(
    ("cell", "era"),
    [("lstm", "keras2"), ("lstm", "keras3"), ("gru", "keras2"), ("gru", "keras3"), ("simple_rnn", "keras2")],
)
def test_the_main_model_by_hand(cell, era):
    model = architectures.build_model(
        make_config(f"cell={cell}", f"era={era}", "encoder_units=3", "decoder_units=2"), 3, 2, 12
    )
    rng = np.random.default_rng(0)
    for weights in model.weights:
        weights.assign(2 * rng.normal(size=weights.shape))
    question = np.eye(12, dtype=np.float32)[[2, 1, 11]]  # 0+9
    _, encoder, _, decoder, *_ = model.layers
    encoded = states_by_hand(cell, era, encoder.get_weights(), question)[-1]
    features = states_by_hand(cell, era, decoder.get_weights(), [encoded] * 2)
    np.testing.assert_allclose(model(question[None])[0], characters(model, features), atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "recurrent"),
    [
        ("repeat_vector", 2),
        ("aligned", 1),
        ("encoder_decoder", 2),
        ("attention", 2),
        ("repeat_vector_stacked", 3),
        ("readout", 2),
        ("pooled", 3),
    ],
)
def test_every_recurrent_layer_has_the_gates_of_its_era(architecture, recurrent):
    chosen = make_config(f"architecture={architecture}")
    x = np.linspace(-3, 3, 13, dtype=np.float32)
    for era, gate in GATE.items():
        # Of two characters each, which takes little time.
        model = architectures.build_model(dataclasses.replace(chosen, era=era), 2, 2, 12)
        cells = [layer.cell for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
        assert len(cells) == recurrent
        for each in cells:
            np.testing.assert_allclose(each.recurrent_activation(x), gate(x), atol=1e-6)
