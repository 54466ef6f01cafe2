"""Our loop over the steps against Keras' own layers: same weights, same outputs, same gradients."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from seqadd import layers, models

SETTINGS = [
    ("LSTM", {}),
    ("LSTM", {"recurrent_activation": "hard_sigmoid"}),
    ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False}),
    ("SimpleRNN", {}),
]


def agree_with_keras(name, settings, x, *, jit=True, repeat=None, initial_state=None, **ours_only):
    """Asserts that output and gradients of our layer are those of Keras' layer with the same weights."""
    rng = np.random.default_rng(1)
    x = tf.constant(x, tf.float32)
    theirs = getattr(keras.layers, name)(6, **settings)
    ours = getattr(layers, name)(6, **settings, **ours_only)
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
    output, gradients = tf.function(output_and_gradients, jit_compile=jit)(ours)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-4)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_outputs_and_gradients_equal_those_of_keras(name, settings, return_sequences, jit):
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    agree_with_keras(name, {"return_sequences": return_sequences, **settings}, x, jit=jit)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_a_constant_input_is_used_once_and_gives_the_same(name, settings):
    x = np.random.default_rng(0).normal(size=(3, 4))
    agree_with_keras(name, {"return_sequences": True, **settings}, x, repeat=5, constant_input=True)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_an_initial_state_is_started_from(name, settings):
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    states = [tf.constant(x[:, i, :1] * np.ones(6), tf.float32) for i in range(2 if name == "LSTM" else 1)]
    agree_with_keras(name, {"return_sequences": True, **settings}, x, initial_state=states)


@pytest.mark.parametrize(
    ("constant_input", "products"),
    [
        # Forward 5, for input and state come in one; back to 5 inputs, to 4 states and to the weights in 5.
        (False, 5 + 5 + 4 + 5),
        # The input: forward, back and weights once; the states of 4 steps each of these too.
        (True, 3 + 3 * 4),
    ],
)
def test_no_product_is_made_that_a_step_does_not_need(constant_input, products):
    """Of a SimpleRNN with 5 steps, the first of them without a state, and of its gradient."""
    layer = layers.SimpleRNN(6, constant_input=constant_input)
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


def test_computed_once_changes_nothing():
    x = tf.constant([1.5, -2.25, 1e-30])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers.computed_once(x, tf.constant(1.0))
    assert y.numpy().tolist() == x.numpy().tolist()
    assert tape.gradient(y, x).numpy().tolist() == [1, 1, 1]


def test_xla_keeps_the_divisions_that_keep_states_from_being_computed_again():
    """The trick rests on a habit of the compiler; should XLA drop a division by one some day, this is the alarm."""
    layer = layers.LSTM(6, recurrent_activation=models.hard_sigmoid_of_keras2)  # XLA writes a sigmoid as a division
    layer.build((3, 5, 4))

    @tf.function(jit_compile=True)
    def compute(x):
        return layer(x)

    optimised = compute.experimental_get_compiler_ir(tf.zeros((3, 5, 4)))(stage="optimized_hlo")
    assert "divide(" in optimised


def test_a_mask_is_refused():
    with pytest.raises(NotImplementedError, match="without a mask"):
        layers.LSTM(6)(np.zeros((3, 5, 4), dtype=np.float32), mask=np.ones((3, 5), dtype=bool))


def test_a_setting_that_the_steps_would_ignore_is_refused():
    with pytest.raises(NotImplementedError, match="GRU of seqadd knows no dropout"):
        layers.GRU(6, dropout=0.1)
