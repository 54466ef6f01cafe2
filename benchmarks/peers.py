"""The model of ``seqadd`` in other libraries, each written as its users write it, behind one small protocol.

Included: stock ``keras.Model.fit``, PyTorch, JAX with a whole epoch in one ``jit``, and seqadd itself; the setting and
the sums that they share. All compute the same, ``era=keras3``: sigmoid gates, the GRU's reset gate after the product,
categorical cross-entropy, Adam with Keras' epsilon, a new order of the sums in every epoch, the last, smaller batch
included. All add up the loss during the epoch; seqadd and ``fit`` count right characters as well.

Not included: measuring (``compare.py``), ``torch.compile`` (needs a C++ compiler), GPUs.

    python benchmarks/peers.py keras_fit lstm

trains one epoch as a script of its own, with the library's own first weights and threads, and prints its seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqadd.data import curriculum, drawing
from seqadd.data.addition import VOCABULARY, Addition
from seqadd.data.drawing import Dataset
from seqadd.data.vocabulary import Ids

#: Gates of a cell; its kernels have this many columns a unit.
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
N_CHARACTERS = len(VOCABULARY.characters)

#: float32, in Keras' order: kernel, recurrent kernel and bias of the encoder, the same of the decoder, kernel and bias
#: of the output layer. An LSTM of u units on 12 characters: (12, 4 u), (u, 4 u), (4 u,) with gates i, f, c, o; a GRU:
#: (12, 3 u), (u, 3 u), (2, 3 u) with gates z, r, h and one bias for each of the products.
Weights = list[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Setting:
    """The model and data to train: cell, widths of encoder and decoder, batch size, sums drawn (a tenth held out)."""

    cell: str
    encoder_units: int = 64
    decoder_units: int = 32
    batch_size: int = 512
    n_questions: int = 50_000

    @property
    def units(self) -> str:
        """Both widths: ``64/32``."""
        return f"{self.encoder_units}/{self.decoder_units}"

    @property
    def name(self) -> str:
        """The name for ``compare.py --settings``: ``lstm-64/32-512``."""
        return f"{self.cell}-{self.units}-{self.batch_size}"


class Contestant(Protocol):
    """A model with its optimizer and its training set, ready to train.

    Attributes:
        n_parameters: the number of trained parameters.
    """

    n_parameters: int

    def epoch(self, number: int) -> None:
        """Trains epoch ``number`` (from 1); returns when all computation is finished."""

    def loss(self, questions: Ids, answers: Ids) -> float:
        """Returns the cross-entropy per character (in nats) of ids ``(n, 7)`` and ``(n, 4)``; changes no weights."""


def make_sums(setting: Setting) -> Dataset:
    """Returns the three-digit sums that all train on, the same in every process."""
    return drawing.make_dataset(
        Addition(3),
        n_questions=setting.n_questions,
        held_out=0.1,
        reverse=True,
        rng=np.random.default_rng(0),
    )


class Seqadd:
    """seqadd's own training epoch, without its evaluation."""

    def __init__(self, setting: Setting, data: Dataset, weights: Weights | None, threads: int | None) -> None:
        from seqadd.config import composition
        from seqadd.models import architectures
        from seqadd.system import hardware, tensorflow_setup
        from seqadd.training.loop import LOSSES

        overrides = {
            "cell": setting.cell,
            "era": "keras3",
            "encoder_units": setting.encoder_units,
            "decoder_units": setting.decoder_units,
            "batch_size": setting.batch_size,
            "task.n_questions": setting.n_questions,
            "threads": threads or hardware.processors(),
        }
        self._config = (
            composition.compose_selection([f"{key}={value}" for key, value in overrides.items()]).columns[0].config
        )
        tensorflow_setup.use_threads(self._config.threads)
        lengths = data.train_questions.shape[1], data.train_answers.shape[1]
        self._model = architectures.build_model(self._config, *lengths, N_CHARACTERS)
        if weights is not None:
            self._model.set_weights(weights)
        self.n_parameters = _count(weight.shape for weight in self._model.trainable_weights)
        self._n_train = len(data.train_questions)
        self._losses = LOSSES
        self._train_epoch = seqadd_epoch_program(self._model, data, self._config)

    def weights(self) -> Weights:
        """Returns the current weights."""
        return list(self._model.get_weights())

    def epoch(self, number: int) -> None:
        """See ``Contestant``."""
        rows = curriculum.epoch_order(self._config.seed, number, self._n_train)
        metrics = self._train_epoch(rows, number)
        float(metrics["loss"])  # blocks until it is computed

    def loss(self, questions: Ids, answers: Ids) -> float:
        """See ``Contestant``."""
        predicted = self._model(VOCABULARY.one_hot(questions))
        return float(self._losses["categorical"]()(VOCABULARY.one_hot(answers), predicted))


def seqadd_epoch_program(model: Any, data: Dataset, config: Any) -> Callable[[Any, int], dict[str, Any]]:
    """Returns a function that trains ``model``: order of an epoch, int32 ``(n_train,)`` -> the epoch's metrics."""
    from seqadd.training import loop

    return loop.epoch_program(model, loop.make_optimizer(model, config), data, config)


class KerasFit:
    """``keras.Model.fit`` on one-hot arrays of bool, as in Keras' own addition example."""

    def __init__(self, setting: Setting, data: Dataset, weights: Weights | None, threads: int | None) -> None:
        import keras
        import tensorflow as tf

        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[setting.cell]
        self._model = keras.Sequential(
            [
                keras.Input((data.train_questions.shape[1], N_CHARACTERS)),
                layer(setting.encoder_units),
                keras.layers.RepeatVector(data.train_answers.shape[1]),
                layer(setting.decoder_units, return_sequences=True),
                keras.layers.Dense(N_CHARACTERS, activation="softmax"),
            ]
        )
        self._model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
        if weights is not None:
            self._model.set_weights(weights)
        self.n_parameters = _count(weight.shape for weight in self._model.trainable_weights)
        self._batch_size = setting.batch_size
        self._x = VOCABULARY.one_hot(data.train_questions).astype(bool)
        self._y = VOCABULARY.one_hot(data.train_answers).astype(bool)

    def epoch(self, number: int) -> None:
        """See ``Contestant``."""
        self._model.fit(self._x, self._y, batch_size=self._batch_size, epochs=1, verbose=0)

    def loss(self, questions: Ids, answers: Ids) -> float:
        """See ``Contestant``."""
        x, y = VOCABULARY.one_hot(questions), VOCABULARY.one_hot(answers)
        return float(self._model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)["loss"])


class PyTorch:
    """A plain training loop over ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``; the one-hot training set is one tensor.

    A shuffled index selects the batches: a ``DataLoader``, which collects sums one by one, would take longer.
    """

    def __init__(self, setting: Setting, data: Dataset, weights: Weights | None, threads: int | None) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
            torch.set_num_interop_threads(threads)
        self._torch = torch
        torch.manual_seed(0)
        layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple_rnn": torch.nn.RNN}[setting.cell]
        self._encoder = layer(N_CHARACTERS, setting.encoder_units, batch_first=True)
        self._decoder = layer(setting.encoder_units, setting.decoder_units, batch_first=True)
        self._output = torch.nn.Linear(setting.decoder_units, N_CHARACTERS)
        self._answer_length = data.train_answers.shape[1]
        if setting.cell != "gru":
            # PyTorch has two biases where Keras has one; if both were trained, Adam would move their sum twice as far.
            for recurrent in (self._encoder, self._decoder):
                torch.nn.init.zeros_(recurrent.bias_hh_l0)
                recurrent.bias_hh_l0.requires_grad_(False)
        if weights is not None:
            self._set_weights(setting.cell, weights)
        modules = torch.nn.ModuleList([self._encoder, self._decoder, self._output])
        trained = [parameter for parameter in modules.parameters() if parameter.requires_grad]
        self.n_parameters = _count(parameter.shape for parameter in trained)
        self._optimizer = torch.optim.Adam(trained, lr=1e-3, eps=1e-7)
        self._batch_size = setting.batch_size
        self._x = torch.from_numpy(VOCABULARY.one_hot(data.train_questions))
        self._y = torch.from_numpy(data.train_answers.astype(np.int64))

    def _set_weights(self, cell: str, weights: Weights) -> None:
        """Sets Keras' weights. PyTorch keeps the gates in rows, and the GRU's in the order r, z, n."""

        def rows(columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            gates = np.split(columns.T, GATES[cell])
            return np.concatenate([gates[1], gates[0], gates[2]] if cell == "gru" else gates)

        put = {self._output.weight: weights[6].T, self._output.bias: weights[7]}
        for recurrent, (kernel, recurrent_kernel, bias) in (
            (self._encoder, weights[0:3]),
            (self._decoder, weights[3:6]),
        ):
            put[recurrent.weight_ih_l0] = rows(kernel)
            put[recurrent.weight_hh_l0] = rows(recurrent_kernel)
            put[recurrent.bias_ih_l0] = rows(bias[0] if cell == "gru" else bias)
            if cell == "gru":
                put[recurrent.bias_hh_l0] = rows(bias[1])
        with self._torch.no_grad():
            for parameter, array in put.items():
                parameter.copy_(self._torch.from_numpy(np.ascontiguousarray(array)))

    def _cross_entropy(self, x: Any, y: Any) -> Any:
        """One-hot questions ``(batch, 7, 12)`` and ids of answers ``(batch, 4)`` -> their mean loss."""
        encoded, _ = self._encoder(x)
        decoded, _ = self._decoder(encoded[:, -1:].expand(-1, self._answer_length, -1))
        logits = self._output(decoded)
        return self._torch.nn.functional.cross_entropy(logits.reshape(-1, N_CHARACTERS), y.reshape(-1))

    def epoch(self, number: int) -> None:
        """See ``Contestant``."""
        total = self._torch.zeros(())
        for rows in self._torch.randperm(len(self._x)).split(self._batch_size):
            self._optimizer.zero_grad()
            loss = self._cross_entropy(self._x[rows], self._y[rows])
            loss.backward()
            self._optimizer.step()
            total += loss.detach() * len(rows)
        float(total)

    def loss(self, questions: Ids, answers: Ids) -> float:
        """See ``Contestant``."""
        x = self._torch.from_numpy(VOCABULARY.one_hot(questions))
        y = self._torch.from_numpy(answers.astype(np.int64))
        with self._torch.no_grad():
            return float(self._cross_entropy(x, y))


class JaxJit:
    """JAX by hand: loss, gradient, Adam and the loop over the batches in one ``jit`` with donated buffers.

    Written in the way measured fastest at 64/32 units and batches of 512: the steps of a recurrence unrolled
    (``lax.scan``, unrolled or not, took longer), and biases added to all inputs at once, before the steps.
    """

    def __init__(self, setting: Setting, data: Dataset, weights: Weights | None, threads: int | None) -> None:
        if threads is not None:
            # JAX reads this at its first computation. Like all of XLA, it also respects the process's CPU affinity.
            several = str(threads > 1).lower()
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen={several}"
        import jax
        import jax.numpy as jnp

        if weights is None:
            weights = _first_weights(jax, setting)
        layers = [tuple(jnp.asarray(weight) for weight in weights[i : i + 3]) for i in (0, 3, 6)]
        zeros = partial(jax.tree.map, jnp.zeros_like)
        self._state = layers, zeros(layers), zeros(layers), jnp.float32(0)  # and Adam's: both moments, number of steps
        self.n_parameters = _count(weight.shape for weight in jax.tree.leaves(layers))
        self._jax = jax
        self._data = jnp.asarray(data.train_questions), jnp.asarray(data.train_answers)
        cross_entropy = _jax_cross_entropy(jax, setting.cell, data.train_answers.shape[1])
        self._loss = jax.jit(cross_entropy)
        self._train_epoch = _jax_epoch(jax, cross_entropy, len(data.train_questions), setting.batch_size)

    def epoch(self, number: int) -> None:
        """See ``Contestant``."""
        order = np.random.default_rng((0, number)).permutation(len(self._data[0])).astype(np.int32)
        self._state, loss = self._train_epoch(self._state, *self._data, order)
        self._jax.block_until_ready((self._state, loss))

    def loss(self, questions: Ids, answers: Ids) -> float:
        """See ``Contestant``."""
        return float(self._loss(self._state[0], questions, answers))


def _jax_cross_entropy(jax: Any, cell: str, answer_length: int) -> Callable[[Any, Any, Any], Any]:
    """Returns a function: weights by layer, ids ``(batch, 7)`` and ``(batch, 4)`` -> their mean loss."""
    jnp = jax.numpy
    step = {"lstm": _jax_lstm, "gru": _jax_gru, "simple_rnn": _jax_simple_rnn}[cell]

    def with_bias(products: Any, bias: Any) -> Any:
        return products + (bias[0] if cell == "gru" else bias)

    def states(inputs: Any, recurrent_kernel: Any, bias: Any) -> Any:
        """Runs a layer: the inputs' part of the gates per step, ``(batch, gates)`` -> outputs, ``(batch, units)``."""
        zero = jnp.zeros((len(inputs[0]), len(recurrent_kernel)))
        state, outputs = (zero, zero), []
        for x in inputs:
            state = step(jax, x, state, recurrent_kernel, bias)
            outputs.append(state[0])
        return outputs

    def cross_entropy(layers: Any, questions: Any, answers: Any) -> Any:
        (kernel_1, recurrent_1, bias_1), (kernel_2, recurrent_2, bias_2), (kernel_3, bias_3) = layers
        x = with_bias(jax.nn.one_hot(questions.T, N_CHARACTERS) @ kernel_1, bias_1)
        encoded = states(list(x), recurrent_1, bias_1)[-1]
        x = with_bias(encoded @ kernel_2, bias_2)  # the same at every step
        decoded = jnp.stack(states([x] * answer_length, recurrent_2, bias_2))
        y = jax.nn.one_hot(answers.T, N_CHARACTERS)
        return -(jax.nn.log_softmax(decoded @ kernel_3 + bias_3) * y).sum(-1).mean()

    return cross_entropy


def _jax_lstm(jax: Any, x: Any, state: Any, recurrent_kernel: Any, bias: Any) -> Any:
    h, c = state
    i, f, g, o = jax.numpy.split(x + h @ recurrent_kernel, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
    return jax.nn.sigmoid(o) * jax.numpy.tanh(c), c


def _jax_gru(jax: Any, x: Any, state: Any, recurrent_kernel: Any, bias: Any) -> Any:
    h = state[0]
    xz, xr, xn = jax.numpy.split(x, 3, axis=-1)
    hz, hr, hn = jax.numpy.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
    z, r = jax.nn.sigmoid(xz + hz), jax.nn.sigmoid(xr + hr)
    return (z * h + (1 - z) * jax.numpy.tanh(xn + r * hn),)


def _jax_simple_rnn(jax: Any, x: Any, state: Any, recurrent_kernel: Any, bias: Any) -> Any:
    return (jax.numpy.tanh(x + state[0] @ recurrent_kernel),)


def _jax_epoch(jax: Any, cross_entropy: Callable[[Any, Any, Any], Any], n_train: int, batch_size: int) -> Any:
    """Returns a compiled function: state, questions, answers, order -> state after an epoch, mean loss of the epoch."""
    jnp, lax, tree_map = jax.numpy, jax.lax, jax.tree.map
    n_full, n_rest = divmod(n_train, batch_size)

    def train_batch(state: Any, questions: Any, answers: Any) -> Any:
        """Returns the state after a step of Adam, and the sum of the loss over the batch's rows."""
        layers, m, v, t = state
        loss, gradients = jax.value_and_grad(cross_entropy)(layers, questions, answers)
        t = t + 1
        m = tree_map(lambda m, g: 0.9 * m + (1 - 0.9) * g, m, gradients)
        v = tree_map(lambda v, g: 0.999 * v + (1 - 0.999) * g * g, v, gradients)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        layers = tree_map(lambda weight, m, v: weight - rate * m / (jnp.sqrt(v) + 1e-7), layers, m, v)
        return (layers, m, v, t), loss * len(questions)

    @partial(jax.jit, donate_argnums=0)
    def train_epoch(state: Any, questions: Any, answers: Any, order: Any) -> Any:
        def body(i: Any, carried: Any) -> Any:
            state, total = carried
            rows = lax.dynamic_slice_in_dim(order, i * batch_size, batch_size)
            state, loss = train_batch(state, questions[rows], answers[rows])
            return state, total + loss

        state, total = lax.fori_loop(0, n_full, body, (state, jnp.float32(0)))
        if n_rest:
            rows = order[n_full * batch_size :]
            state, loss = train_batch(state, questions[rows], answers[rows])
            total += loss
        return state, total / n_train

    return train_epoch


def _first_weights(jax: Any, setting: Setting) -> Weights:
    """Draws initial weights from Keras' distributions, with the LSTM's forget bias of 1, from seed 0."""
    gates, keys = GATES[setting.cell], iter(jax.random.split(jax.random.key(0), 5))
    kernel, recurrent_kernel = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.orthogonal()
    weights = []
    widths = N_CHARACTERS, setting.encoder_units, setting.decoder_units
    for width, units in itertools.pairwise(widths):
        bias = np.zeros((2, gates * units) if setting.cell == "gru" else gates * units, np.float32)
        if setting.cell == "lstm":
            bias[units : 2 * units] = 1
        weights += [kernel(next(keys), (width, gates * units)), recurrent_kernel(next(keys), (units, gates * units))]
        weights += [bias]
    weights += [kernel(next(keys), (setting.decoder_units, N_CHARACTERS)), np.zeros(N_CHARACTERS, np.float32)]
    return [np.asarray(weight) for weight in weights]


def _count(shapes: Iterable[Any]) -> int:
    return sum(int(np.prod(tuple(shape))) for shape in shapes)


CONTESTANTS: dict[str, Callable[[Setting, Dataset, Weights | None, int | None], Contestant]] = {
    "seqadd": Seqadd,
    "keras_fit": KerasFit,
    "pytorch": PyTorch,
    "jax_jit": JaxJit,
}
"""All built from setting, sums, first weights (None: the library's own) and threads (None: the library's own)."""


def require_packages() -> None:
    """Ends the program with exit code 2 and one line if a package of the peers is not installed."""
    missing = [package for package in ("torch", "jax") if importlib.util.find_spec(package) is None]
    if missing:
        print(f"benchmarks: not installed: {', '.join(missing)}; pip install -e .[bench]", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    """Command line of ``python benchmarks/peers.py``."""
    parser = argparse.ArgumentParser(description="Train one epoch of 45,000 sums, 64/32 units, batches of 512.")
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("cell", choices=GATES)
    chosen = parser.parse_args()
    require_packages()
    setting = Setting(chosen.cell)
    contestant = CONTESTANTS[chosen.contestant](setting, make_sums(setting), None, None)
    start = time.perf_counter()
    contestant.epoch(1)
    print(f"{time.perf_counter() - start:.3f}")


if __name__ == "__main__":
    main()
