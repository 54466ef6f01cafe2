"""What the missing runs of claims cost."""

import dataclasses

from conftest import our_claims

from seqadd.claims.training_cost import Cost, training_cost


def test_runs_that_an_earlier_claim_trains_cost_a_later_one_nothing_and_are_said_to_be_its_own():
    first = our_claims()[0]
    jobs = first.jobs[:3]
    later = dataclasses.replace(first, folder=first.folder.parent / "later")
    trained: dict[str, tuple[int, str]] = {}
    assert training_cost(first, jobs[:2], None, trained).trained_for == []
    cost = training_cost(later, jobs, None, trained)
    assert cost.trained_for == [first.name, first.name]
    assert str(cost).startswith(f"3 missing, 2 of them trained for {first.name} above, the others about ")
    assert training_cost(later, jobs[:2], None, trained).seconds == 0.0


def test_costs_in_words():
    assert str(Cost(0, 0.0, [])) == "0 missing"
    assert str(Cost(2, 90.0, [])) == "2 missing, about 2 min of one processor"
    assert str(Cost(5, 0.0, ["cells", "cells", "era", "era", "era"])) == "5 missing, trained for cells, era above"
