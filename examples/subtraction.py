"""A task: subtraction with a sign, 12-345 is -333.

python -m seqadd.run --code examples/subtraction.py task=subtraction epochs=50
python -m seqadd.run --code examples/subtraction.py -m task=subtraction reverse_answer=null,true 'seed=range(5)'
"""

from typing import Annotated

import seqadd


@seqadd.task("subtraction", characters="-0123456789")
class Subtraction:
    """Differences of two numbers of 1 to ``digits`` digits."""

    digits: Annotated[int, seqadd.within(1, 9)] = 3

    def draw(self, rng, n):
        numbers = rng.integers(0, 10 ** rng.integers(1, self.digits + 1, size=(n, 2)))
        return [f"{a}-{b}" for a, b in numbers.tolist()]

    def solve(self, question):
        a, b = question.split("-")
        return str(int(a) - int(b))

    def roomiest(self):
        most = "9" * self.digits
        return f"{most}-{most}", f"0-{most}"

    def groups(self, question):
        """How many digits must borrow when the smaller number is taken from the larger one."""
        smaller, larger = sorted(map(int, question.split("-")))
        return {"borrows": sum(larger % 10**k < smaller % 10**k for k in range(1, self.digits + 1))}
