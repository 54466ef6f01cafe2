"""The mutations fit the code: ``make faults`` would only notice after other code has changed as well."""

import mutations


def test_every_mutation_replaces_a_text_that_occurs_once():
    assert [each.name for each in mutations.MUTATIONS if not mutations.fits(each)] == []


def test_every_mutation_names_a_test_that_exists():
    tests = mutations.CLONE / "tests"
    lost = []
    for each in mutations.MUTATIONS:
        file, _, name = each.test.partition("::")
        defined = f"def {name.partition('[')[0]}("
        if not (tests / file).is_file() or defined not in (tests / file).read_text():
            lost.append(each.name)
    assert lost == []
