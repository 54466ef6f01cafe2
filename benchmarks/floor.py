"""The floor under an epoch: the time of its matrix products alone, which no implementation of the model can avoid.

Included: the products of a batch, forward and backward; each counts with the fastest of numpy's BLAS, PyTorch and XLA
on this machine. If the products of several steps can be one larger product (the inputs of all steps, the gradients of
the weights), the faster of the two ways counts. Avoidable products are left out: those with the first step's zero
state, and the gradient of the question. The decoder's input is the same at every step and is multiplied once.

Not included: gates, loss, Adam, selecting batches, moving data between products. So the floor can only be approached.
It is a floor for the model on plain one-hot vectors: a program that looks up rows of the encoder's kernel, instead of
multiplying it by ones and zeros, could leave out the 12 rows of the products with the question.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from peers import GATES, N_CHARACTERS, Setting

from seqadd.data import addition, drawing

QUESTION_LENGTH, ANSWER_LENGTH = addition.question_length(3), addition.answer_length(3)

#: Runs a product a given number of times.
Runner = Callable[[int], object]


@dataclass(frozen=True)
class Shape:
    """A product of ``(m, k)`` by ``(k, n)``; ``transposed`` names the factor that is transposed in memory."""

    m: int
    k: int
    n: int
    transposed: str = ""


@dataclass(frozen=True)
class Product:
    """A product that every batch needs, and the ways to compute it: a number of products of a shape."""

    what: str
    ways: tuple[tuple[int, Shape], ...]


def products(setting: Setting) -> list[Product]:
    """Returns the products of a whole batch of the setting."""
    batch, gates = setting.batch_size, GATES[setting.cell]
    encoder, decoder = setting.encoder_units, setting.decoder_units
    return [
        *_layer("encoder's inputs", QUESTION_LENGTH, batch, N_CHARACTERS, gates * encoder, gradient_of_input=False),
        *_layer("encoder's states", QUESTION_LENGTH - 1, batch, encoder, gates * encoder, chained=True),
        *_layer("decoder's input", 1, batch, encoder, gates * decoder),
        *_layer("decoder's states", ANSWER_LENGTH - 1, batch, decoder, gates * decoder, chained=True),
        *_layer("output layer", ANSWER_LENGTH, batch, decoder, N_CHARACTERS),
    ]


def _layer(
    what: str, steps: int, batch: int, k: int, n: int, *, chained: bool = False, gradient_of_input: bool = True
) -> list[Product]:
    """Returns the products of ``steps`` inputs ``(batch, k)`` with one kernel ``(k, n)``, and of their gradients.

    If ``chained``, each step needs the previous one, so only the kernel's gradient can be one product.
    """

    def forward_ways(k: int, n: int, transposed: str) -> tuple[tuple[int, Shape], ...]:
        by_step = (steps, Shape(batch, k, n, transposed))
        return (by_step,) if chained or steps == 1 else (by_step, (1, Shape(steps * batch, k, n, transposed)))

    found = [Product(what, forward_ways(k, n, ""))]
    if gradient_of_input:
        found.append(Product(f"{what}, gradient", forward_ways(n, k, "b")))
    kernel_ways = dict.fromkeys([(steps, Shape(k, batch, n, "a")), (1, Shape(k, steps * batch, n, "a"))])
    return [*found, Product(f"{what}, gradient of the kernel", tuple(kernel_ways))]


class Floor:
    """Times the products of an epoch in short samples.

    Args:
        setting: the model whose products are timed.
        threads: number of threads for each library; None for its own default.
    """

    def __init__(self, setting: Setting, threads: int | None) -> None:
        import tensorflow as tf
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        n_train = setting.n_questions - drawing.held_out_count(setting.n_questions, 0.1)
        self._batches = n_train / setting.batch_size  # the last, smaller batch counts as its share of a whole one
        # One thread is timed as well, because a product can be too small for several threads, and on a busy machine
        # waiting for the second thread takes long.
        kinds = [LIBRARIES] if threads == 1 else [LIBRARIES, ALONE]
        self._chosen = [[_quickest(product, libraries) for libraries in kinds] for product in products(setting)]

    def epoch_seconds(self, sample_seconds: float = 0.05) -> float:
        """Measures the seconds of an epoch's products now, from a sample of ``sample_seconds`` for every product."""
        seconds = 0.0
        for candidates in self._chosen:
            seconds += min(times * _seconds(run, sample_seconds) for times, run in candidates)
        return self._batches * seconds


def _quickest(product: Product, libraries: list[Callable[[Shape], Runner]]) -> tuple[int, Runner]:
    """Returns the fastest way to compute a product: how often it runs in a batch, and its runner."""
    found = []
    for times, shape in product.ways:
        for make in libraries:
            run = make(shape)
            run(1)  # compiles
            found.append((times * _seconds(run, 0.02), times, run))
    _, times, run = min(found, key=lambda way: way[0])
    return times, run


def _seconds(run: Runner, sample_seconds: float) -> float:
    """Measures the seconds of one product: the best of about ten runs, so that other load does not raise the floor."""
    n, best = 1, float("inf")
    end = time.perf_counter() + sample_seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run(n)
        seconds = time.perf_counter() - start
        best = min(best, seconds / n)
        if seconds < sample_seconds / 10:
            n *= 2
    return best


def _factors(shape: Shape) -> tuple[Any, Any]:
    """Returns both factors in their memory layout, float32; not zeros, which some processors multiply faster."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(shape.k, shape.m) if shape.transposed == "a" else (shape.m, shape.k)).astype(np.float32)
    b = rng.normal(size=(shape.n, shape.k) if shape.transposed == "b" else (shape.k, shape.n)).astype(np.float32)
    return a, b


def _numpy(shape: Shape) -> Runner:
    a, b = _factors(shape)
    a, b = (a.T if shape.transposed == "a" else a), (b.T if shape.transposed == "b" else b)
    out = np.empty((shape.m, shape.n), np.float32)

    def run(n: int) -> None:
        for _ in range(n):
            np.matmul(a, b, out=out)

    return run


def _torch(shape: Shape, threads: int | None = None) -> Runner:
    import torch

    a, b = (torch.from_numpy(factor) for factor in _factors(shape))
    a, b = (a.T if shape.transposed == "a" else a), (b.T if shape.transposed == "b" else b)
    out = torch.empty((shape.m, shape.n))

    def run(n: int) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        for _ in range(n):
            torch.mm(a, b, out=out)
        torch.set_num_threads(before)

    return run


def _xla(shape: Shape) -> Runner:
    import tensorflow as tf

    a, b = (tf.constant(factor) for factor in _factors(shape))

    @tf.function(jit_compile=True)
    def program(n: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, a: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            # One element of a factor depends on the previous product, or the compiler would multiply only once.
            a = tf.tensor_scatter_nd_update(a, [[0, 0]], [c[0, 0]])
            c = tf.matmul(a, b, transpose_a=shape.transposed == "a", transpose_b=shape.transposed == "b")
            return i + 1, a, tf.ensure_shape(c, (shape.m, shape.n))

        start = tf.constant(0), a, tf.zeros((shape.m, shape.n))
        _, _, c = tf.while_loop(lambda i, a, c: i < n, body, start)
        return c

    def run(n: int) -> None:
        program(tf.constant(n), a, b).numpy()

    return run


LIBRARIES: list[Callable[[Shape], Runner]] = [_numpy, _torch, _xla]
ALONE: list[Callable[[Shape], Runner]] = [partial(_torch, threads=1)]
