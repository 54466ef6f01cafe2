"""The words KEY=VALUE: what is nearly right is refused with the right form, and values follow Hydra's grammar."""

import pytest

from seqadd.config import composition, messages, words
from seqadd.errors import ConfigError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("cell gru", "cell gru: write cell=gru"),
        ("task two_digits", "task two_digits: write task=two_digits"),
        ("learning_rate = 0.1", "learning_rate =: write learning_rate=0.1"),
        ("seed=1 lstm", "lstm: must be KEY=VALUE, for example cell=lstm"),
        ("cell cell=gru", "cell: must be KEY=VALUE, for example cell=gru"),
        ("gru4", "gru4: must be KEY=VALUE, for example cell=gru"),
    ],
)
def test_a_word_that_is_no_override_is_refused_with_its_right_form(wrong, message):
    with pytest.raises(ConfigError) as refused:
        words.check_words(wrong.split())
    assert str(refused.value) == message


def test_a_table_and_a_run_name_the_same_right_form():
    with pytest.raises(ConfigError, match=r"^cell gru: write cell=gru$"):
        composition.compose_selection(["cell", "gru"])


def test_overrides_deletions_and_empty_values_are_words():
    words.check_words(["cell=gru", "+a=b", "~tracking", "epochs="])


@pytest.mark.parametrize("written", ["--cell gru", "--cell=gru"])
def test_a_key_written_as_an_option_is_refused_with_its_right_form(written):
    option = written.split()[0]
    assert words.as_option(option, ["-m", *written.split()]) == f"{option}: keys are not options; write cell=gru"
    assert words.as_option("--sell", ["--sell", "gru"]) is None


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("lr", "did you mean learning_rate?"),
        ("units", "did you mean encoder_units or decoder_units?"),
        ("question", "did you mean inspect.question?"),
        ("batch", "did you mean batch_size?"),
        ("epoch", "did you mean epochs?"),
        ("hydra.launcher.job", "did you mean hydra.launcher.jobs?"),
        ("colour", "python -m seqadd.run --help lists all keys"),
    ],
)
def test_an_unknown_key_has_a_hint_in_one_short_line(key, hint):
    assert messages.no_such_key(key) == f"{key}: no such key; {hint}"


def test_whole_numbers_in_scientific_notation_are_integers_where_keys_are():
    overrides = [
        "epochs=1e3",
        "batch_size=1.5e2,2E+2",
        "seed=range(0,1e1)",
        "+epochs=1e0",
        "threads=1",
        "encoder_units=12e",
    ]
    assert words.with_integers(overrides) == [
        "epochs=1000", "batch_size=150,200", "seed=range(0,10)", "+epochs=1", "threads=1", "encoder_units=12e",
    ]  # fmt: skip
    others = ["learning_rate=1e-3", "learning_rate=1e3", "epochs=1.55e1", "epochs=1e-3", "tracking.uri=a1e3", "epochs"]
    assert words.with_integers(others) == others


def test_a_table_reads_1e2_as_100():
    columns = composition.compose_selection(["batch_size=1e2,64"]).columns
    assert [(column.label, column.config.batch_size) for column in columns] == [
        ("batch_size 100", 100),
        ("batch_size 64", 64),
    ]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ('question="793+716"', ["793+716"]),
        ("question='793+716',5 + 7", ["793+716", "5 + 7"]),
        ("epoch=range(0,30,10)", ["0", "10", "20"]),
        ("run=12e4,007", ["12e4", "007"]),
        ("run=", []),
    ],
)
def test_values_are_read_with_hydras_grammar_and_ids_stay_as_they_are(word, values):
    assert words.read_word(word) == (word.partition("=")[0], values)


def test_a_word_that_hydra_cannot_read_is_refused():
    with pytest.raises(ConfigError, match=r"cannot read the override .*; write KEY=VALUE"):
        words.read_word("epoch=[1")
