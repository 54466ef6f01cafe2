"""Asks a trained model: questions in, probabilities of the answers' characters out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqadd.data.vocabulary import Ids, one_hot
from seqadd.system.tensorflow_setup import quiet_import

if TYPE_CHECKING:
    import keras

Array = npt.NDArray[np.floating[Any]]

#: Questions in a batch; larger batches would take memory and save no time.
_AT_ONCE = 1000


def probabilities(model: keras.Model, questions: Ids) -> Array:
    """Returns the probability of each character at each position of the answer.

    A model that reads its own answer decodes greedily: each character depends on the likeliest ones before it.

    Args:
        model: of a ``TrainedRun``, or as ``models.architectures.build_model`` makes it.
        questions: ids of characters as the model reads them, shape ``(n, question_length)``.

    Returns:
        Probabilities in 0..1, shape ``(n, answer_length, characters)``; the last axis adds up to 1. Its order is
        that of ``TrainedRun.data.alphabet``: the blank, then ``+0123456789`` for sums.

    Raises:
        ValueError: when questions are not such ids.

    Example:
        >>> from seqadd import load_run
        >>> run = load_run("run=latest")
        >>> probabilities(run.model, run.write(["535+61"])).shape  # the main model, three-digit sums
        (1, 4, 12)
    """
    if not reads_answer(model):
        return in_batches(model, {"probabilities": model.outputs[0]}, questions)["probabilities"]
    n = _n_characters(model)
    return np.concatenate([model.greedy_decode(one_hot(batch, n)).numpy() for batch in batches(model, questions)])


def answer_probabilities(model: keras.Model, questions: Ids, answers: Ids) -> Array:
    """Returns the probability that a model gives to whole answers, ``(n,)``: the product over their characters.

    A model that reads its own answer gets this answer's earlier characters as input for each character (teacher
    forcing); any other model predicts all characters in one pass.

    Args:
        model: as ``models.architectures.build_model`` makes it.
        questions: ids, ``(n, question_length)``.
        answers: ids, ``(n, answer_length)``; for a model that ends its answers itself, characters count up to the
            blank that ends the answer.
    """
    if not reads_answer(model):
        each = probabilities(model, questions)
        return np.take_along_axis(each, answers[..., None].astype(np.intp), axis=-1)[..., 0].prod(axis=1)
    with quiet_import():
        import keras
    from seqadd.models.self_reading import shift_right, until_eos_mask

    found = []
    for at in range(0, len(questions), _AT_ONCE):
        right = answers[at : at + _AT_ONCE]
        x = keras.ops.convert_to_tensor(one_hot(questions[at : at + _AT_ONCE], _n_characters(model)))
        forced = model([x, shift_right(right, _n_characters(model))], training=False).numpy()
        of_right = np.take_along_axis(forced, right[..., None].astype(np.intp), axis=-1)[..., 0]
        found.append(np.where(until_eos_mask(right).numpy() > 0.5, of_right, 1.0).prod(axis=1))
    return np.concatenate(found)


def free_answers(model: keras.Model, questions: Ids, length: int, beam: int) -> tuple[Ids, Array]:
    """Returns the answers of a model that ends them itself, found by beam search, and their probabilities.

    Args:
        model: an ``EncoderDecoder``.
        questions: ids of characters, shape ``(n, any length)``.
        length: the longest answer, including the blank that ends it.
        beam: width of the beam, at least 1.

    Returns:
        Ids, ``(n, length)``, and probabilities, ``(n,)``.
    """
    each = []
    n = max(1, _AT_ONCE // beam)
    for at in range(0, len(questions), n):
        ids, logarithms = model.beam_search(one_hot(questions[at : at + n], _n_characters(model)), beam, length)
        each.append((ids[:, 0].numpy(), np.exp(logarithms[:, 0].numpy())))
    return np.concatenate([ids for ids, _ in each]), np.concatenate([sure for _, sure in each])


def batches(model: keras.Model, questions: Ids) -> Iterator[Ids]:
    given, length = np.asarray(questions), model.inputs[0].shape[1]
    if given.ndim != 2 or len(given) == 0 or given.shape[1] != length or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"questions: must be ids of characters, shape (n, {length}), at least one; these are {given.dtype} of "
            f"shape {given.shape}; TrainedRun.write makes ids of texts"
        )
    for at in range(0, len(questions), _AT_ONCE):
        yield questions[at : at + _AT_ONCE]


def reads_answer(model: keras.Model) -> bool:
    """Returns whether a model reads its own answer, see ``models.protocol.AnswerModel``; others answer in one pass."""
    return bool(getattr(model, "reads_answer", False))


def _n_characters(model: keras.Model) -> int:
    return int(model.inputs[0].shape[2])


def _inner_inputs(model: keras.Model, questions: Any) -> Any:
    return model.inner_inputs(questions) if reads_answer(model) else questions


def in_batches(model: keras.Model, wanted: dict[str, Any], questions: Ids) -> dict[str, Any]:
    """Computes tensors of a model for many questions, as arrays; a list of tensors gives a list of arrays."""
    with quiet_import():
        import keras
    sub_model = keras.Model(model.inputs if reads_answer(model) else model.inputs[0], wanted)
    parts = [
        sub_model(_inner_inputs(model, one_hot(batch, _n_characters(model))), training=False)
        for batch in batches(model, questions)
    ]
    return keras.tree.map_structure(lambda *each: np.concatenate([np.asarray(part) for part in each]), *parts)
