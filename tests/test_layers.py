"""Our loop over the steps against Keras' own layers: same weights, same outputs, same gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from seqadd import layers

SETTINGS = [
    ("LSTM", {}),
    ("LSTM", {"recurrent_activation": "hard_sigmoid"}),
    ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False}),
    ("SimpleRNN", {}),
]


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_outputs_and_gradients_equal_those_of_keras(name, settings, return_sequences, jit):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(3, 5, 4)), tf.float32)
    theirs = getattr(keras.layers, name)(6, return_sequences=return_sequences, **settings)
    ours = getattr(layers, name)(6, return_sequences=return_sequences, **settings)
    for layer in (theirs, ours):
        layer.build(x.shape)
    theirs.set_weights([rng.normal(size=weight.shape) for weight in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())

    def output_and_gradients(layer):
        @tf.function(jit_compile=jit)
        def compute():
            with tf.GradientTape() as tape:
                tape.watch(x)
                output = layer(x)
                loss = tf.reduce_sum(output * tf.cos(output))
            return output, tape.gradient(loss, [x, *layer.trainable_variables])

        return compute()

    expected, expected_gradients = output_and_gradients(theirs)
    output, gradients = output_and_gradients(ours)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-4)


def test_computed_once_changes_nothing():
    x = tf.constant([1.5, -2.25, 1e-30])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers.computed_once(x, tf.constant(1.0))
    assert y.numpy().tolist() == x.numpy().tolist()
    assert tape.gradient(y, x).numpy().tolist() == [1, 1, 1]


def test_xla_keeps_the_divisions_that_keep_states_from_being_computed_again():
    """The trick rests on a habit of the compiler; should XLA drop a division by one some day, this is the alarm."""
    layer = layers.SimpleRNN(6)
    layer.build((3, 5, 4))

    @tf.function(jit_compile=True)
    def compute(x):
        return layer(x)

    optimised = compute.experimental_get_compiler_ir(tf.zeros((3, 5, 4)))(stage="optimized_hlo")
    assert "divide(" in optimised


def test_a_mask_is_refused():
    with pytest.raises(NotImplementedError, match="without a mask"):
        layers.LSTM(6)(np.zeros((3, 5, 4), dtype=np.float32), mask=np.ones((3, 5), dtype=bool))
