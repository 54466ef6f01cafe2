"""Multiplication: 12*345 is 4140. A task of the package that comes in through the door of own parts."""

from __future__ import annotations

from typing import Annotated

import numpy as np

import seqadd


@seqadd.task("multiplication", characters="*0123456789")
class Multiplication:
    """Products of two numbers of 1 to ``digits`` digits, drawn as the addends of a sum; ``7*12`` counts as ``12*7``."""

    digits: Annotated[int, seqadd.within(1, 4)] = 3

    def draw(self, rng: np.random.Generator, n: int) -> list[str]:
        """The number of digits is drawn first, then the digits: 7 is "7", "07" or "007"."""
        numbers = rng.integers(0, 10 ** rng.integers(1, self.digits + 1, size=(n, 2)))
        return [f"{a}*{b}" for a, b in numbers.tolist()]

    def solve(self, question: str) -> str:
        """The product."""
        a, b = question.split("*")
        return str(int(a) * int(b))

    def roomiest(self) -> tuple[str, ...]:
        """The largest product needs the most room."""
        most = "9" * self.digits
        return (f"{most}*{most}",)

    def same(self, question: str) -> tuple[int, ...]:
        """The factors in order."""
        return tuple(sorted(map(int, question.split("*"))))

    def groups(self, question: str) -> dict[str, int]:
        """The digits of the product: each more must come out of more digits of both factors."""
        return {"digits": len(self.solve(question))}
