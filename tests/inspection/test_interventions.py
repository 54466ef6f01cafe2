"""States that are changed: against models with other weights, other questions, and steps taken by hand."""

import dataclasses
import functools

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, make_config
from trained_runs import model_of

from seqadd.errors import ConfigError
from seqadd.evaluation import predict, trained_run
from seqadd.evaluation.questions import encode_questions
from seqadd.inspection import analysis, interventions
from seqadd.inspection.trace import trace
from seqadd.models.own_cell import OwnRNN
from seqadd.models.protocol import AnswerModel
from seqadd.reporting import figures
from seqadd.training import dataset

NO_DECODER = "decoder_units=null"
EVERY = [
    ("cell=lstm",),
    ("cell=gru", "era=keras3", "architecture=pooled"),
    ("cell=simple_rnn", "architecture=readout"),
    ("cell=lstm", "architecture=encoder_decoder", "decoder_units=6"),
    ("cell=gru", "architecture=attention", "decoder_units=6"),
]


@functools.cache
def run_of(*overrides):
    """An untrained run of one-digit sums; its biases are not zero."""
    config, model = make_config(*SMALL, *overrides), model_of(*SMALL, *overrides)
    rng = np.random.default_rng(0)
    for weights in model.weights:
        weights.assign(weights.numpy() + 1.5 * rng.normal(size=weights.shape))
    return trained_run.TrainedRun("made", config, {}, config.epochs, model, dataset.make_dataset(config), {})


def says(run, question, word=None):
    """The probabilities of an answer."""
    if word is None:
        return predict.probabilities(run.model, run.write([question]))
    (change,) = interventions.read_changes([run], [word], [question])
    with interventions.changed(run.model, change):
        return predict.probabilities(run.model, run.write([question]))


def units_of(run, unit):
    return ",".join(f"{name}[{unit}]" for name in interventions.recurrent_layers(run.model))


@pytest.mark.parametrize("overrides", EVERY, ids=" ".join)
def test_a_unit_that_is_off_is_one_whose_candidate_is_always_zero(overrides):
    run = run_of(*overrides)
    before = says(run, "5+7")
    found = says(run, "5+7", f"off={units_of(run, 2)}")
    weights = run.model.get_weights()
    for layer in interventions.recurrent_layers(run.model).values():
        kernel, recurrent_kernel, bias = layer.get_weights()
        column = {1: 0, 3: 2, 4: 2}[kernel.shape[1] // layer.units] * layer.units + 2  # of the candidate
        kernel[:, column] = recurrent_kernel[:, column] = bias[..., column] = 0
        layer.set_weights([kernel, recurrent_kernel, bias])
    without = says(run, "5+7")
    run.model.set_weights(weights)
    np.testing.assert_allclose(found, without, atol=1e-5)
    assert np.abs(found - before).max() > 1e-4
    np.testing.assert_array_equal(says(run, "5+7"), before)  # the model is as it was
    assert not any("step" in vars(layer) for layer in interventions.recurrent_layers(run.model).values())


def test_without_its_last_layer_a_model_says_what_the_biases_say():
    run = run_of("cell=lstm")
    of_biases = keras.ops.softmax(run.model.get_layer("time_distributed_1").bias)
    np.testing.assert_allclose(says(run, "5+7", "off=lstm_2"), np.broadcast_to(of_biases, (1, 2, 12)), atol=1e-6)
    # Without the encoder no answer depends on the question.
    np.testing.assert_array_equal(says(run, "5+7", "off=lstm_1"), says(run, "1+2", "off=lstm_1"))


def test_a_decoder_whose_unit_is_off_does_not_begin_with_the_encoders():
    run = run_of("cell=gru", "architecture=encoder_decoder", "decoder_units=6")
    found = says(run, "5+7", "off=gru_2[0]")
    model = model_of(*SMALL, "cell=gru", "architecture=encoder_decoder", "decoder_units=6")
    model.set_weights(run.model.get_weights())
    dense = model.get_layer("time_distributed_1")
    dense.kernel.assign(dense.kernel.numpy() * (np.arange(6) != 0)[:, None])
    one_hot = np.eye(12, dtype=np.float32)
    encoded, read = model.encode(one_hot[run.write(["5+7"])]), one_hot[[0]]
    state = encoded.states[0]
    for expected in found[0, :2]:
        probabilities, (state,) = model.step(read, [state.numpy() * (np.arange(6) != 0)], encoded)
        np.testing.assert_allclose(expected, probabilities[0], atol=1e-6)
        read = one_hot[[int(np.argmax(probabilities))]]
        if read[0, 0]:
            break


def test_a_unit_that_nothing_reads_does_not_matter():
    """Held-out answers are set to what the model says, so that all are right; only unit 2 of lstm_2 is not read."""
    run = run_of("cell=lstm")
    model = model_of(*SMALL, "cell=lstm")
    model.set_weights(run.model.get_weights())
    for variable in (model.get_layer("time_distributed_1").kernel, model.get_layer("lstm_2").cell.recurrent_kernel):
        weights = variable.numpy()
        weights[2] = 0
        variable.assign(weights)
    answers = predict.probabilities(model, run.data.val_questions).argmax(axis=-1).astype(np.uint8)
    run = dataclasses.replace(run, model=model, data=dataclasses.replace(run.data, val_answers=answers))
    said = []
    rows = list(interventions._each_off(run, said.append))
    assert [(row["layer"], row["unit"]) for row in rows] == [
        *(("lstm_1", unit) for unit in range(6)),
        *(("lstm_2", unit) for unit in range(5)),
    ]
    assert said[2] == "lstm_1 without unit 2"
    accuracy = {(row["layer"], row["unit"]): row["exact_match"] for row in rows}
    assert accuracy["lstm_2", 2] == 1
    assert min(accuracy.values()) < 1
    worst = min(rows, key=lambda row: row["exact_match"])
    (change,) = interventions.read_changes([run], [f"off={worst['layer']}[{worst['unit']}]"], [])
    with interventions.changed(model, change):
        assert worst["exact_match"] == analysis.held_out(run).exact_match


@pytest.mark.parametrize("overrides", EVERY, ids=" ".join)
def test_its_own_states_change_nothing(overrides):
    run = run_of(*overrides)
    for name in interventions.recurrent_layers(run.model):
        np.testing.assert_array_equal(says(run, "5+7", f"patch=5+7@2:{name}"), says(run, "5+7"))


@pytest.mark.parametrize("overrides", [EVERY[0], EVERY[3]], ids=" ".join)
def test_an_encoder_with_the_states_of_another_sum_has_read_its_first_characters(overrides):
    """The model reads 5+7 as 7+5, and the other sum as 3+2."""
    run = run_of(*overrides)
    for step, as_if in ((1, "5+3"), (2, "5+3"), (3, "2+3")):
        np.testing.assert_array_equal(says(run, "5+7", f"patch=2+3@{step}"), says(run, as_if))


def test_some_units_have_the_states_of_another_sum():
    run = run_of("cell=lstm")
    encoder, decoder = (run.model.get_layer(f"lstm_{n}") for n in (1, 2))
    ends = [
        np.asarray(keras.Model(run.model.inputs[0], encoder.output)(np.eye(12, dtype=np.float32)[run.write([text])]))
        for text in ("5+7", "2+3")
    ]
    mixed = np.where(np.isin(np.arange(6), [1, 4]), ends[1], ends[0])
    x = decoder(np.repeat(mixed[:, None], 2, axis=1))
    expected = keras.ops.softmax(run.model.get_layer("time_distributed_1")(x))
    np.testing.assert_allclose(says(run, "5+7", "patch=2+3@3:lstm_1[1,4]"), expected, atol=1e-6)
    np.testing.assert_array_equal(says(run, "5+7", 'patch="2+3@3:lstm_1[0, 1,2,3,4,5]"'), says(run, "2+3"))


def test_an_own_cell_whose_output_is_none_of_its_states():
    class Two(keras.layers.Layer):
        """Counts its inputs in two states; its output is three times their difference."""

        state_size = (2, 2)
        units = 2

        def call(self, inputs, states):
            first, second = states[0] + inputs[:, :2], states[1] + 2 * inputs[:, :2]
            return 3 * (second - first), [first, second]

    question = keras.Input((3, 2))
    outputs = OwnRNN(Two(), None, return_sequences=True, name="mine_1")(question)
    model = AnswerModel(question, outputs)
    x = np.ones((1, 3, 2), np.float32)
    with interventions.changed(model, interventions.Change("", [("mine_1", [1])])):
        assert np.asarray(model(x)).tolist() == [[[3, 0], [6, 0], [9, 0]]]
    assert np.asarray(model(x)).tolist() == [[[3, 3], [6, 6], [9, 9]]]


def test_changes_and_the_donor_stand_beside_each_question():
    run = run_of("cell=lstm")
    seen = analysis.Inspection(run, trace(run.model, encode_questions(run.config, ["5+7"])), [], None, {}, None, [])
    words = ["off=lstm_1[1],lstm_2[0,3]", "patch=2+3@1"]
    changed = interventions.with_changes(seen, interventions.read_changes([run], words, []), print).changed
    for question, traces in changed.traces.items():
        assert [heading for heading, _ in traces] == [*words, "2+3"]
        for (_, traced), expected in zip(
            traces, [says(run, question, words[0]), says(run, question, words[1]), says(run, "2+3")], strict=True
        ):
            np.testing.assert_array_equal(traced.probabilities[None], expected)
    assert list(changed.traces) == ["5+7"]
    assert list(changed.held_out) == words[:1]


def test_the_units_that_matter_most_stand_first():
    table = pd.DataFrame({"layer": ["a"] * 3 + ["b"], "unit": [0, 1, 2, 0], "exact_match": [0.9, 0.2, 0.5, 0.7]})
    first, second = figures.units(table, 0.9, "title").axes
    assert [bar.get_height() for bar in first.patches] == [0.2, 0.5, 0.9]
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["1", "2", "0"]
    assert [bar.get_height() for bar in second.patches] == [0.7]
    assert first.lines[0].get_ydata()[0] == 0.9


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("off=", "off=: write off=lstm_1[3,7], off=each, patch=431+121@4 or patch=431+121@4:lstm_1[7]"),
        ("off=lstm_1[]", "off=lstm_1[]: write off="),
        ("off=lstm_1[-1]", "off=lstm_1[-1]: write off="),
        ("off=lstm_3[0]", "off=lstm_3[0]: run made has no recurrent layer lstm_3; it has lstm_1, lstm_2"),
        ("off=lstm_2[5]", "off=lstm_2[5]: lstm_2 has units 0..4"),
        (
            "patch=",
            "patch=: write off=lstm_1[3,7], off=each, patch=431+121@4 or patch=431+121@4:lstm_1[7]",
        ),
        ("patch=2+3", "patch=2+3: write off="),
        ("patch=2+3@0", "patch=2+3@0: lstm_1 has steps 1..3"),
        ("patch=2+3@4", "patch=2+3@4: lstm_1 has steps 1..3"),
        ("patch=2+3@3:lstm_2", "patch=2+3@3:lstm_2: lstm_2 has steps 1..2"),
        ("patch=2+3@3:lstm_1[6]", "patch=2+3@3:lstm_1[6]: lstm_1 has units 0..5"),
        ("patch=2-3@3", "2-3: '-' is no character of a sum"),
    ],
)
def test_bad_changes_are_refused_in_one_line(word, said):
    run = run_of("cell=lstm")
    with pytest.raises(ConfigError) as error:
        interventions.read_changes([run], [word], ["5+7"])
    assert str(error.value).removeprefix("question=").startswith(said)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="needs one run; these are 2"):
        interventions.read_changes([run, run], [word], [])


def test_a_model_without_states_and_a_step_that_is_padding_are_refused():
    with pytest.raises(ConfigError, match=r"^off=each: run made has no recurrent layer, so no states that can be"):
        interventions.read_changes([run_of("cell=dense", NO_DECODER)], ["off=each"], [])
    two_digits = run_of(
        "cell=lstm", "architecture=encoder_decoder", "decoder_units=6", "task.digits=2", "task.n_questions=900"
    )
    for word, question, short in (("patch=5+61@1", "10+10", "5+61"), ("patch=10+10@1", "5+61", "5+61")):
        with pytest.raises(ConfigError, match=rf"step 1 of {short.replace('+', '.')} is padding, which is skipped$"):
            interventions.read_changes([two_digits], [word], [question])
