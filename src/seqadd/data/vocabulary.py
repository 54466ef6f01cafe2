"""Converts characters to ids and one-hot vectors, and back. Contains no code about sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: The 12 characters of a sum in sorted order, as in the article's CharacterTable; a character's id is its index.
CHARACTERS = " +0123456789"

#: The id of the blank, which pads questions and answers; it begins and ends the answers of an encoder-decoder.
BLANK = CHARACTERS.index(" ")
#: The ids of the plus sign and of the digit 0; the other digits follow 0 in order.
PLUS, ZERO = CHARACTERS.index("+"), CHARACTERS.index("0")

Ids = npt.NDArray[np.uint8]

_ID_OF_BYTE = np.zeros(256, dtype=np.uint8)
_ID_OF_BYTE[list(CHARACTERS.encode("ascii"))] = np.arange(len(CHARACTERS))


def encode(texts: Sequence[str]) -> Ids:
    """The ids of the characters of texts, which must have the same length.

    Args:
        texts: ``n`` strings of ``length`` characters each.

    Returns:
        Array of shape ``(n, length)`` with values in ``0..11``.

    Raises:
        ValueError: for texts of different lengths, or a character that is not in the alphabet.
    """
    lengths = {len(text) for text in texts}
    if len(lengths) > 1:
        raise ValueError(f"cannot encode texts of lengths {sorted(lengths)} together: pad them to one length")
    strange = sorted(set("".join(texts)) - set(CHARACTERS))
    if strange:
        raise ValueError(f"cannot encode {strange[0]!r}: the alphabet is {CHARACTERS!r}")
    if not texts:
        return np.zeros((0, 0), dtype=np.uint8)
    ascii_codes = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8)
    return _ID_OF_BYTE[ascii_codes].reshape(len(texts), -1)


def decode(ids: npt.NDArray[np.integer]) -> list[str]:
    """Converts ids of shape ``(n, length)`` to texts."""
    return ["".join(CHARACTERS[i] for i in row) for row in ids]


def one_hot(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """One-hot vectors: ids of shape ``(...)`` become an array of shape ``(..., 12)`` of zeros and ones."""
    vectors: npt.NDArray[np.float32] = np.eye(len(CHARACTERS), dtype=np.float32)
    return vectors[ids]
