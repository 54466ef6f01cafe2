"""Configurations keep their names: what was recorded under a hash is found under it for good.

``condition_hashes.csv`` was written by commit be10b21 and is never written again. A new key that changes results is
null by default, and null means what was before there was the key; what changes no result is bookkeeping.
"""

import csv
from pathlib import Path

from conftest import make_config, our_claims

from seqadd.config import schema
from seqadd.config.parts import declared

#: The keys that a run's result follows from in commit be10b21.
KEYS = (
    "cell", "architecture", "encoder_units", "decoder_units", "peek", "score", "teacher_forcing", "loss", "era",
    "task.digits", "task.n_questions", "task.equal_lengths", "task.longest", "task.held_out", "epochs", "batch_size",
    "learning_rate", "reverse", "shuffle", "curriculum", "seed", "threads", "jit",
)  # fmt: skip


def test_every_condition_of_the_claims_has_the_hashes_that_it_had():
    with Path(__file__).with_name("condition_hashes.csv").open(newline="") as lines:
        then = {(line["claim"], line["condition"]): line for line in csv.DictReader(lines)}
    assert len(then) == 62
    now = {(claim.name, condition.label): condition.config for claim in our_claims() for condition in claim.conditions}
    for key, line in then.items():
        condition = now[key]
        assert (condition.seed, condition.epochs) == (int(line["seed"]), int(line["epochs"])), key
        hashes = condition.config_hash(), condition.condition_hash(), condition.trajectory_hash()
        assert hashes == (line["config_hash"], line["condition_hash"], line["trajectory_hash"]), key


def test_the_hashes_of_the_default_run_are_those_that_they_were():
    default = make_config()
    assert default.config_hash() == "76bcfcd9d82e46e1"
    assert default.condition_hash() == "f0297a9292490d1a"
    assert default.trajectory_hash() == "c56a2c5384e3583d"


def test_a_key_that_results_follow_from_is_null_by_default_if_it_is_new():
    keys = make_config().result_keys()
    assert [key for key in KEYS if key not in keys] == []
    assert {key: value for key, value in keys.items() if key not in KEYS and value is not None} == {}
    assert {name for name in schema.known_result_keys() if not _of_a_part(name)} == set(keys)


def _of_a_part(key):
    return any(part.name == key.partition(".")[0] for part in declared().values())
