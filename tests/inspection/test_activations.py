"""What is seen inside a model, against models built another way and against a step computed by hand."""

import keras
import numpy as np
import pytest
from trained_runs import model_of

from seqadd.data import addition
from seqadd.data.addition import VOCABULARY
from seqadd.data.vocabulary import BLANK
from seqadd.evaluation import predict
from seqadd.inspection import activations, gates, saturation

ALL = [
    ["cell=lstm"],
    ["cell=gru"],
    ["cell=gru", "era=keras3"],
    ["cell=simple_rnn"],
    ["cell=lstm", "architecture=aligned"],
    ["cell=gru", "architecture=aligned"],
    ["cell=dense"],
    ["cell=lstm", "architecture=repeat_vector_stacked"],
]
FREE = [
    *(["architecture=encoder_decoder", f"cell={cell}"] for cell in ("lstm", "gru", "simple_rnn")),
    ["architecture=encoder_decoder", "cell=lstm", "peek=true"],
    ["architecture=attention", "cell=lstm"],
    ["architecture=attention", "cell=gru", "score=dot"],
]
QUESTIONS = addition.write_questions(np.array([[617, 397], [5, 61], [999, 999]]), 7)[:, ::-1]


def disturbed(*overrides: str) -> keras.Model:
    """A model whose biases are not zero, as those of a new one are."""
    model = model_of(*overrides)
    rng = np.random.default_rng(0)
    for weights in model.weights:
        weights.assign(weights.numpy() + 0.3 * rng.normal(size=weights.shape))
    return model


def keras_own(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A layer of Keras' own with the same settings; its weights come when it is built."""
    settings = layer.get_config()
    for name in ("recurrent_activation", "activation"):  # as functions, some of which Keras does not know by name
        if name in settings:
            settings[name] = getattr(layer, name)
    known = {"units", "return_sequences", "recurrent_activation", "activation", "reset_after", "n"}
    kind = getattr(keras.layers, type(layer).__name__)
    return kind(**{name: value for name, value in settings.items() if name in known})


def in_keras_own_layers(model: keras.Model) -> list[tuple[str, keras.KerasTensor, keras.layers.Layer]]:
    """The same model of Keras' own layers, each with its output."""
    output = question = keras.Input((7, 12))
    outputs = []
    for layer in model.layers[1:]:
        own = keras_own(layer)
        output = own(output)
        own.set_weights(layer.get_weights())
        outputs.append((layer.name, output, question))
    return outputs


@pytest.mark.parametrize("overrides", ALL, ids=" ".join)
def test_activations_are_those_of_an_independent_sub_model(overrides):
    """As the article looks at a layer: ``Model(inputs=model.input, outputs=model.layers[3].output)``."""
    model = disturbed(*overrides)
    seen = activations.activations(model, QUESTIONS)
    assert list(seen) == [layer.name for layer in model.layers[1:]]
    for name, output, question in in_keras_own_layers(model):
        expected = keras.Model(question, output)(VOCABULARY.one_hot(QUESTIONS))
        np.testing.assert_allclose(seen[name], expected, rtol=0, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(predict.probabilities(model, QUESTIONS), seen["activation_1"])


@pytest.mark.parametrize("overrides", ALL, ids=" ".join)
def test_the_state_at_each_step_is_that_of_keras_own_layer_with_an_output_at_every_step(overrides):
    model = disturbed(*overrides)
    inside = gates.gates(model, QUESTIONS)
    recurrent = [layer for layer in model.layers if isinstance(layer, keras.layers.RNN)]
    assert list(inside) == [layer.name for layer in recurrent]
    for layer in recurrent:
        own = keras_own(layer)
        own.return_sequences = True
        sequences = keras.Model(model.inputs[0], layer.input)(VOCABULARY.one_hot(QUESTIONS))
        own(sequences)
        own.set_weights(layer.get_weights())
        np.testing.assert_allclose(inside[layer.name]["state"], own(sequences), rtol=0, atol=1e-5)


def one_unit(kind: type, weights: list[list], **settings) -> keras.layers.Layer:
    layer = kind(1, return_sequences=True, **settings)
    layer.build((1, 2, 1))
    layer.set_weights([np.array(each, np.float32) for each in weights])
    return layer


def hard_sigmoid(x):
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def by_step(inside: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: values[0, :, 0].tolist() for name, values in inside.items()}


def test_the_gates_of_an_lstm_by_hand():
    """One unit, inputs 1 and 0; gates are clip(0.2 x + 0.5), biases zero, the state adds 1 to the forget gate's x."""
    # Columns: input, forget, candidate, output.
    layer = one_unit(keras.layers.LSTM, [[[2.5, 0, 9, 0]], [[0, 1, 0, 0]], [0] * 4], recurrent_activation=hard_sigmoid)
    sequences = np.array([[[1.0], [0.0]]], np.float32)
    inside = gates.gates_of(layer, sequences, output=np.asarray(layer(sequences)))
    # First step: the input gate is open, the candidate tanh(9) = 1, the output gate half open: 0.5 tanh(1) = 0.3808.
    # Second: the forget gate has 0.2 * 0.3808 + 0.5 = 0.5762, nothing comes in, the state is 0.5 tanh(0.5762) = 0.2599.
    expected = {
        "input_gate": [1.0, 0.5],
        "forget_gate": [0.5, 0.5762],
        "output_gate": [0.5, 0.5],
        "candidate": [1.0, 0.0],
        "cell_state": [1.0, 0.5762],
        "state": [0.3808, 0.2599],
    }
    assert by_step(inside) == {name: pytest.approx(values, abs=1e-4) for name, values in expected.items()}


def test_the_gates_of_a_gru_by_hand():
    """As in Keras 2.2, the reset gate before the product; one unit, inputs 1 and 0."""
    # Columns: update, reset, candidate.
    layer = one_unit(
        keras.layers.GRU, [[[-1.0, 0, 9]], [[0, 0, 1.0]], [0] * 3], recurrent_activation=hard_sigmoid, reset_after=False
    )
    sequences = np.array([[[1.0], [0.0]]], np.float32)
    inside = gates.gates_of(layer, sequences, output=np.asarray(layer(sequences)))
    # First step: 0.3 of the old state, which is zero, is kept, and 0.7 of tanh(9) = 1 comes in.
    # Second: both gates half open; the candidate is tanh(0.5 * 0.7) = 0.3364; 0.5 * 0.7 + 0.5 * 0.3364 = 0.5182.
    expected = {
        "update_gate": [0.3, 0.5],
        "reset_gate": [0.5, 0.5],
        "candidate": [1.0, 0.3364],
        "state": [0.7, 0.5182],
    }
    assert by_step(inside) == {name: pytest.approx(values, abs=1e-4) for name, values in expected.items()}


def test_gates_that_do_not_give_the_layers_output_are_not_shown():
    layer = one_unit(keras.layers.SimpleRNN, [[[1.0]], [[0.0]], [0.0]])
    sequences = np.array([[[1.0], [0.0]]], np.float32)
    with pytest.raises(ArithmeticError, match=r"the state computed from its weights differs from its output by 0\.24"):
        gates.gates_of(layer, sequences, output=np.asarray(layer(sequences)) + 0.24)
    with pytest.raises(ArithmeticError, match="nan"):
        gates.gates_of(layer, sequences, output=np.full((1, 2, 1), np.nan))


def test_what_are_no_ids_of_questions_is_refused_in_one_line():
    model = model_of("cell=simple_rnn")
    for wrong in (["5+61"], QUESTIONS[:0], QUESTIONS[:, 1:], QUESTIONS[0], QUESTIONS.astype(float)):
        with pytest.raises(
            ValueError, match=r"^questions: must be ids of characters, shape \(n, 7\), at least one; these"
        ):
            activations.activations(model, wrong)


@pytest.mark.parametrize("overrides", FREE, ids=" ".join)
def test_a_model_that_reads_its_own_answer(overrides):
    """Gates are held against the layers' outputs; what is skipped has none, and its state stays zero."""
    model = disturbed(*overrides)
    inside = gates.gates(model, QUESTIONS)
    assert [layer.split("_")[-1] for layer in inside] == ["1", "2"]
    encoder, decoder = inside.values()
    assert encoder["state"].shape == (3, 7, 64)
    assert decoder["state"].shape == (3, 5, 64)
    # 5+61 is read as "   16+5": three blanks.
    assert (encoder["state"][1, :3] == 0).all()
    assert all(np.isnan(gate[1, :3]).all() for name, gate in encoder.items() if name.endswith("gate"))
    assert all(np.isfinite(gate[1, 3:]).all() for gate in encoder.values())
    seen = activations.activations(model, QUESTIONS)
    name = next(iter(inside))
    np.testing.assert_allclose(seen[f"{name}/1"], encoder["state"][:, -1], atol=1e-5)
    probabilities = predict.probabilities(model, QUESTIONS)
    assert probabilities.shape == seen["activation_1"].shape == (3, 5, 12)
    np.testing.assert_allclose(probabilities[:, 0], seen["activation_1"][:, 0], atol=1e-5)
    assert np.isfinite(saturation.saturation(model, QUESTIONS)[["low", "high", "mean"]]).all().all()


def test_the_layers_of_characters_are_the_last_one_with_weights_and_what_follows():
    assert activations.character_layers(model_of("cell=lstm")) == ["time_distributed_1", "activation_1"]


def test_saturation_counts_what_is_near_the_limits_and_what_never_moves():
    """A SimpleRNN of three units that look at the last character alone: 1, or another."""
    model = model_of("cell=simple_rnn", "architecture=aligned", "encoder_units=3")
    kernel = np.zeros((12, 3), np.float32)
    kernel[VOCABULARY.characters.index("1")] = [9, 0.5, 0]  # tanh: 1, 0.46, 0
    model.get_layer("simple_rnn_1").set_weights([kernel, np.zeros((3, 3)), np.array([0.0, 0.0, -9.0])])
    questions = VOCABULARY.encode(["1111111", "1234567"])  # 8 ones in 14 steps
    table = saturation.saturation(model, questions)
    assert table["layer"].unique().tolist() == ["simple_rnn_1"]
    assert table["part"].unique().tolist() == ["state"]
    assert table["high"].tolist() == pytest.approx([8 / 14, 0, 0])
    assert table["low"].tolist() == [0, 0, 1]
    assert table["moves"].tolist() == [True, True, False]
    assert table["greatest"].tolist() == pytest.approx([1, np.tanh(0.5), -1], abs=1e-6)
    assert table["mean"].tolist() == pytest.approx([8 / 14, np.tanh(0.5) * 8 / 14, -1], abs=1e-6)


def test_of_an_lstms_cell_state_it_is_the_tanh_that_saturates():
    model = disturbed("cell=lstm")
    table = saturation.saturation(model, QUESTIONS)
    states = gates.gates(model, QUESTIONS)["lstm_1"]["cell_state"].reshape(-1, 64)
    rows = table[(table["layer"] == "lstm_1") & (table["part"] == "tanh(cell_state)")]
    np.testing.assert_allclose(rows["greatest"], np.tanh(states).max(axis=0), atol=1e-6)
    np.testing.assert_allclose(rows["high"], (np.tanh(states) > 0.9).mean(axis=0), atol=1e-6)


def test_saturation_is_the_same_in_whatever_batches(monkeypatch):
    model = disturbed("cell=lstm")
    whole = saturation.saturation(model, QUESTIONS)
    monkeypatch.setattr(predict, "_AT_ONCE", 2)
    in_batches = saturation.saturation(model, QUESTIONS)
    assert set(whole["part"]) == {
        "input_gate", "forget_gate", "output_gate", "candidate", "tanh(cell_state)", "state"
    }  # fmt: skip
    numbers = ["low", "high", "least", "greatest", "mean"]
    np.testing.assert_allclose(whole[numbers], in_batches[numbers], atol=1e-6)


def test_a_dense_cell_has_outputs_that_saturate_and_no_gates():
    model = disturbed("cell=dense")
    assert gates.gates(model, QUESTIONS) == {}
    assert saturation.saturation(model, QUESTIONS)[["layer", "part"]].drop_duplicates().to_numpy().tolist() == [
        ["dense_1", "output"]
    ]


def test_weights_are_named_by_layer_and_array():
    shapes = {name: values.shape for name, values in activations.weights(model_of("cell=simple_rnn")).items()}
    assert shapes == {
        "simple_rnn_1/kernel": (12, 64),
        "simple_rnn_1/recurrent_kernel": (64, 64),
        "simple_rnn_1/bias": (64,),
        "simple_rnn_2/kernel": (64, 32),
        "simple_rnn_2/recurrent_kernel": (32, 32),
        "simple_rnn_2/bias": (32,),
        "time_distributed_1/kernel": (32, 12),
        "time_distributed_1/bias": (12,),
    }


@pytest.mark.parametrize("overrides", [*FREE[-3:], ["cell=gru"]], ids=" ".join)
def test_the_probability_of_a_whole_answer_is_the_product_of_its_characters_each_after_those_before(overrides):
    model = disturbed(*overrides)
    answers = addition.write_answers(np.array([[617, 397], [5, 61], [999, 999]]), model.outputs[0].shape[1])
    found = predict.answer_probabilities(model, QUESTIONS, answers)
    for question, answer, p in zip(QUESTIONS, answers, found, strict=True):
        if model.reads_answer:  # a character after the other
            encoded = model.encode(np.eye(12, dtype=np.float32)[question[None]])
            states, read, expected = encoded.states, BLANK, 1.0
            for character in answer[: answer.tolist().index(BLANK) + 1]:
                probabilities, states = model.step(np.eye(12, dtype=np.float32)[[read]], states, encoded)
                expected, read = expected * float(probabilities[0, character]), character
        else:
            said = np.asarray(model(np.eye(12, dtype=np.float32)[question[None]]))[0]
            expected = said[np.arange(len(answer)), answer].prod()
        assert p == pytest.approx(expected, rel=1e-3)
