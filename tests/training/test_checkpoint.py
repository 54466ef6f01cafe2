"""A checkpoint gives back what was saved, or says why it cannot be used."""

import hashlib

import numpy as np
import pytest
from conftest import make_config

from seqadd.errors import CheckpointError
from seqadd.training import checkpoint, fingerprint
from seqadd.training.checkpoint import Checkpoint
from seqadd.training.fingerprint import NOTHING, fingerprint_of

FINGERPRINT = {"configuration": "ab", "data": "cd"}
HISTORY = [{"epoch": 1, "acc": 0.1}, {"epoch": 2, "acc": 1 / 3}]


@pytest.fixture
def saved(tmp_path):
    arrays = {"model/kernel": np.array([[1.5, np.nan], [-0.0, 1e-45]], np.float32), "optimizer/step": np.int64(7)}
    path = tmp_path / "a.checkpoint"
    checkpoint.save(path, Checkpoint(FINGERPRINT, HISTORY, arrays))
    return path, arrays


def test_what_is_loaded_is_what_was_saved_to_the_bit(saved):
    path, arrays = saved
    loaded = checkpoint.load(path, FINGERPRINT)
    assert loaded.history == HISTORY
    assert loaded.arrays.keys() == arrays.keys()
    assert all(loaded.arrays[name].tobytes() == array.tobytes() for name, array in arrays.items())


def test_flipped_bytes_and_truncations_are_noticed_all_over_the_file(saved):
    path, _ = saved
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CheckpointError):
            checkpoint.load(path, FINGERPRINT)
        path.write_bytes(whole[:at])
        with pytest.raises(CheckpointError):
            checkpoint.load(path, FINGERPRINT)


def test_the_checkpoint_of_another_training_is_refused(saved):
    path, _ = saved
    with pytest.raises(CheckpointError, match="its data is cd, this run's is ef"):
        checkpoint.load(path, {"configuration": "ab", "data": "ef"})


def test_a_file_that_is_none_and_no_file_are_named(tmp_path):
    (tmp_path / "note").write_text("hello")
    with pytest.raises(CheckpointError, match="has another format"):
        checkpoint.load(tmp_path / "note", None)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(tmp_path / "missing", None)


def test_a_whole_file_with_something_else_in_it_is_refused(tmp_path):
    for content in b"", b"no archive", b"PK\x05\x06" + bytes(18):
        checksum = hashlib.sha256(content).hexdigest().encode()
        (tmp_path / "odd").write_bytes(b"seqadd checkpoint 1\n" + checksum + b"\n" + content)
        with pytest.raises(CheckpointError, match="unexpected content"):
            checkpoint.load(tmp_path / "odd", None)


def test_an_array_of_python_objects_is_not_loaded(tmp_path):
    arrays = {"model/kernel": np.array([{"a": 1}], dtype=object)}
    checkpoint.save(tmp_path / "pickle", Checkpoint(FINGERPRINT, HISTORY, arrays))
    with pytest.raises(CheckpointError, match="allow_pickle=False"):
        checkpoint.load(tmp_path / "pickle", FINGERPRINT)


def test_the_fingerprint_changes_with_all_that_numbers_follow_from_and_not_with_the_epochs(monkeypatch):
    def of(*overrides, data="cd"):
        return fingerprint_of(make_config(*overrides), data)

    assert of("epochs=200") == of("epochs=500")
    for other in of("seed=1"), of("jit=false"), of("cell=gru"), of(data="ef"):
        assert other != of()
    before = of()
    for name in ("processor_name", "version"):
        monkeypatch.setattr(fingerprint, name, lambda *_: "another")
        assert of() != before


def test_code_that_gives_the_same_numbers_goes_on_with_a_checkpoint_and_other_code_does_not(tmp_path, monkeypatch):
    path = tmp_path / "a.checkpoint"
    checkpoint.save(path, Checkpoint({**FINGERPRINT, "code": "old"}, HISTORY, {}))
    with pytest.raises(CheckpointError, match="its code is old, this run's is new"):
        checkpoint.load(path, {**FINGERPRINT, "code": "new"})
    monkeypatch.setattr(checkpoint, "equivalent_codes", lambda code: {code, "old"})
    assert checkpoint.load(path, {**FINGERPRINT, "code": "new"}).history == HISTORY


def test_what_only_one_fingerprint_has_is_compared_with_nothing(saved):
    path, _ = saved
    assert checkpoint.load(path, {**FINGERPRINT, "flags": NOTHING}).history == HISTORY
    with pytest.raises(CheckpointError, match="its flags is none, this run's is --fast"):
        checkpoint.load(path, {**FINGERPRINT, "flags": "--fast"})
    with pytest.raises(CheckpointError, match="its data is cd, this run's is none"):
        checkpoint.load(path, {"configuration": "ab"})


def test_the_fingerprint_is_another_under_other_code_or_on_another_gpu(monkeypatch):
    here = fingerprint_of(make_config(), "cd")
    monkeypatch.setattr(fingerprint, "gpu_names", lambda: ["one of another kind"])
    assert fingerprint_of(make_config(), "cd") != here
    monkeypatch.undo()
    monkeypatch.setattr(fingerprint, "code_digest", lambda: "0123456789abcdef")
    assert fingerprint_of(make_config(), "cd") == {**here, "code": "0123456789abcdef"}
