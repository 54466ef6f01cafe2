"""Converts characters to ids and one-hot vectors, and back. Contains no code about a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: The 12 characters of a sum in sorted order, as in the article's CharacterTable. Other tasks have their own.
CHARACTERS = " +0123456789"

#: The id of the blank in every alphabet. It pads questions and answers; it begins and ends the answers of models that
#: read their own answer.
BLANK = 0

Ids = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a task. The id of a character is its index.

    Attributes:
        characters: each once, the blank first.
    """

    characters: str

    def __post_init__(self) -> None:
        assert self.characters[BLANK] == " ", "the blank is the first character of every alphabet"

    def encode(self, texts: Sequence[str]) -> Ids:
        """The ids of the characters of texts, which must have the same length.

        Args:
            texts: ``n`` strings of ``length`` characters each.

        Returns:
            Array of shape ``(n, length)``.

        Raises:
            ValueError: for texts of different lengths, or a character that is not in the alphabet.
        """
        lengths = {len(text) for text in texts}
        if len(lengths) > 1:
            raise ValueError(f"cannot encode texts of lengths {sorted(lengths)} together: pad them to one length")
        joined = "".join(texts)
        strange = sorted(set(joined) - set(self.characters))
        if strange:
            raise ValueError(f"cannot encode {strange[0]!r}: the alphabet is {self.characters!r}")
        if not texts:
            return np.zeros((0, 0), dtype=np.uint8)
        id_of = {ord(character): chr(index) for index, character in enumerate(self.characters)}
        ids = np.frombuffer(joined.translate(id_of).encode("latin-1"), dtype=np.uint8)
        return ids.reshape(len(texts), -1).copy()  # of bytes, numpy makes an array that cannot be written to

    def decode(self, ids: npt.NDArray[np.integer]) -> list[str]:
        """Converts ids of shape ``(n, length)`` to texts."""
        return ["".join([self.characters[i] for i in row]) for row in ids.tolist()]

    def one_hot(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """One-hot vectors: ids of shape ``(...)`` become zeros and ones of shape ``(..., n_characters)``."""
        return one_hot(ids, len(self.characters))


def one_hot(ids: npt.NDArray[np.integer], n_characters: int) -> npt.NDArray[np.float32]:
    """One-hot vectors over an alphabet of ``n_characters``, see ``Vocabulary.one_hot``."""
    vectors: npt.NDArray[np.float32] = np.eye(n_characters, dtype=np.float32)
    return vectors[ids]
