"""Code that gives the same numbers as other code."""

import pytest

from seqadd.checkpoints import CODE
from seqadd.codes import same_numbers


@pytest.mark.parametrize(
    ("pairs", "same"),
    [
        ([], {"a"}),
        ([("b", "c")], {"a"}),
        ([("b", "a")], {"a", "b"}),
        ([("a", "b")], {"a", "b"}),
        ([("c", "b"), ("b", "a"), ("e", "d")], {"a", "b", "c"}),
    ],
)
def test_sameness_goes_both_ways_and_on(pairs, same, tmp_path):
    path = tmp_path / "same_numbers.csv"
    path.write_text("code,same_as,conditions\n" + "".join(f"{one},{other},3\n" for one, other in pairs))
    assert same_numbers("a", path) == same


def test_code_is_the_same_as_itself(tmp_path):
    assert same_numbers(path=tmp_path / "none.csv") == {CODE}
