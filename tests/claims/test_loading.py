"""A claim's folder: what is read from it, and what is refused in one line."""

import re
import shutil

import pytest
from claim_folders import PUBLISHED, SETTINGS, SWEEP, make_claim
from conftest import our_claims

from seqadd.claims import loading
from seqadd.claims.claim import BEGIN, END
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir


def test_a_claims_conditions_are_the_jobs_of_its_sweep_by_what_differs_but_the_seed(tmp_path):
    claim = loading.read(make_claim(tmp_path))
    assert [condition.label for condition in claim.conditions] == ["reverse=true", "reverse=false"]
    assert [[(job.seed, job.epochs) for job in condition.jobs] for condition in claim.conditions] == [
        [(0, 3), (1, 3)],
        [(0, 2), (1, 2)],
    ]
    assert (claim.title, claim.settings.fewest_seeds) == ("small: a claim", 2)


def test_a_claims_statements_are_the_rows_of_published(tmp_path):
    number, direction, measured = loading.read(make_claim(tmp_path)).statements
    assert (number.condition, number.epochs, number.relation, number.value) == (0, 3, "equal", 0.4)
    assert (direction.condition, direction.relation, direction.than) == (0, "above", (1, 2))
    assert (measured.metric, measured.relation, measured.value, measured.than) == ("best_acc", "", None, None)


WRONG = {
    "published.csv: lacks the column than": {"published": "epochs,metric,relation,value,source\n3,acc,equal,0.4,x\n"},
    "published.csv: no such key: colour": {"published": PUBLISHED.replace("reverse,", "colour,")},
    "line 2: relation=near: must be empty or one of equal, above, below, not above, not below": {
        "published": PUBLISHED.replace("equal", "near")
    },
    "line 2: could not convert string to float: 'x'": {"published": PUBLISHED.replace("0.4", "x")},
    "line 2: value=0.4: needs a relation": {"published": PUBLISHED.replace("equal", "")},
    "line 2: relation=equal: needs a value or a than": {"published": PUBLISHED.replace("0.4", "")},
    "line 2: has both value and than; leave one of them empty": {
        "published": PUBLISHED.replace("0.4,", "0.4,reverse=false")
    },
    "line 3: relation=equal: must be above or below, to compare two conditions": {
        "published": PUBLISHED.replace("above", "equal")
    },
    "line 2: epochs=4: must be in 1..3, the epochs of its runs": {
        "published": PUBLISHED.replace("true,3,val", "true,4,val")
    },
    "line 3: epochs=3: must be in 1..2": {"published": PUBLISHED.replace("reverse=false", "reverse=false epochs=3")},
    "line 2: : 2 conditions of sweep.yaml match; must be one": {"published": PUBLISHED.replace("true,3,val", ",3,val")},
    "line 3: reverse=maybe: 0 conditions of sweep.yaml": {"published": PUBLISHED.replace("=false", "=maybe")},
    "published.csv: must have at least one statement": {"published": PUBLISHED.partition("\n")[0] + "\n"},
    "line 2: metric=val_accuracy: no such metric": {"published": PUBLISHED.replace("val_acc", "val_accuracy")},
    "line 2: value=40: must be a number, and at most 1 for val_acc": {"published": PUBLISHED.replace("0.4", "40")},
    "line 2: value=nan: must be a number": {"published": PUBLISHED.replace("0.4", "nan")},
    "line 3: than=reverse=false epochs=two: its epochs must be an integer": {
        "published": PUBLISHED.replace("reverse=false", "reverse=false epochs=two")
    },
    "claim.yaml: figure: no such key": {"claim": SETTINGS.replace("figures", "figure")},
    "claim.yaml: fewest_seeds=1: must be at least 2": {"claim": SETTINGS.replace("2", "1")},
    "claim.yaml: fewest_seeds: value 'two'": {"claim": SETTINGS.replace("2", "two")},
    "claim.yaml: columns_of_table: no such key": {"claim": SETTINGS + "columns: columns_of_table\n"},
    "claim.yaml: ../curves.png: a figure's name must be letters": {
        "claim": SETTINGS.replace("curves.p", "../curves.p")
    },
    "claim.yaml: figures.curves.png.kind: invalid value 'pie', expected one of": {
        "claim": SETTINGS.replace("kind: curves", "kind: pie")
    },
    "claim.yaml: curves.png: a figure of kind against needs key, metric, at": {
        "claim": SETTINGS.replace("kind: curves", "kind: against")
    },
    "claim.yaml: curves.png: where: no condition of sweep.yaml has cell=gru": {
        "claim": SETTINGS.replace("kind: curves", "kind: curves, where: {cell: gru}")
    },
    "claim.yaml: curves.png: accuracy: no such metric": {"claim": SETTINGS.replace("val_acc", "accuracy")},
    "claim.yaml: reader=half: must be one of one_character, characters_so_far, whole_question": {
        "claim": SETTINGS + "ceilings: [{reader: half, overrides: []}]\n"
    },
    "claim.yaml: ": {"claim": "- a list\n"},
    "claim.yaml: while parsing": {"claim": "figures: {\n"},
    "README.md: must begin with a heading, and have": {"readme": "# small: a claim\n"},
    "README.md: must begin with a heading": {"readme": f"# small\n{END}\n{BEGIN}\n"},
    "sweep.yaml: while parsing": {"sweep": "epochs: {\n"},
    "sweep.yaml: hydra.sweeper names no job": {"sweep": SWEEP.replace("range(2)", "range(0)")},
    "sweep.yaml: task.digits=4: must be at most 3, to compute the ceiling of an aligned model": {
        "sweep": SWEEP.replace("digits: 1", "digits: 4").replace("decoder_units: 5", "decoder_units: null")
        + "architecture: aligned\n"
    },
    "sweep.yaml: batch_size=200: must be at most 44": {"sweep": SWEEP.replace("20\n", "200\n")},
    "sweep.yaml: simple_rnn: a seed occurs twice, with different epochs; name it once": {
        "sweep": SWEEP.replace("reverse: false,", "reverse: true,")
    },
    "sweep.yaml: cell=cnn: must be one of lstm, gru, simple_rnn, dense": {"sweep": SWEEP.replace("simple_rnn", "cnn")},
    "sweep.yaml: speed: no such key": {"sweep": SWEEP + "speed: 3\n"},
}


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_claim_is_refused_in_one_line_that_names_file_value_and_limit(said, tmp_path):
    folder = make_claim(tmp_path, **WRONG[said])
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        loading.read(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["claim.yaml", "README.md", "published.csv", "sweep.yaml"])
def test_a_file_that_is_missing_is_named(name, tmp_path):
    folder = make_claim(tmp_path / "experiments", "it")
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=rf"it/{name}: "):
        loading.read(folder)


@pytest.mark.parametrize("name", ["Übung", "a (b), c", "it's", 'a"b'])
def test_a_claim_may_lie_in_a_folder_of_any_name(name, tmp_path, monkeypatch):
    shutil.copytree(resource_dir("conf"), tmp_path / name / "conf")
    monkeypatch.setattr(loading, "resource_dir", lambda folder: tmp_path / name / folder)
    assert loading.read(make_claim(tmp_path / name / "experiments")).name == "small"


def test_the_articles_claims_are_read_in_the_articles_order_and_then_our_own():
    every = our_claims()
    assert [claim.name for claim in every] == [
        "cells", "gru_500", "batch_size", "dense", "aligned_lstm", "reversal", "binary_loss", "ninety_nine_percent",
        "keras_example", "era", "architectures", "second_script", "teacher_forcing", "longer_than_trained",
        "curricula",
        "almost_every_sum",
    ]  # fmt: skip
    (cells, *_) = every
    assert sum(statement.value is not None for statement in cells.statements) == 24
    assert [len(condition.jobs) for condition in cells.conditions] == [10, 10, 10]
    for claim in every:
        fewest = 3 if claim.settings.ours else 5
        assert claim.settings.fewest_seeds >= fewest, claim.name
        assert all(len(condition.jobs) >= claim.settings.fewest_seeds for condition in claim.conditions), claim.name
