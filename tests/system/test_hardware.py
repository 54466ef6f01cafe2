"""What the machine has, as far as it can be checked without another one."""

import os

from seqadd.system import hardware


def test_processors_are_those_this_process_may_use():
    assert 1 <= hardware.processors() <= (os.cpu_count() or 1)


def test_the_tightest_limit_of_memory_counts(tmp_path, monkeypatch):
    outer, inner = tmp_path, tmp_path / "job"
    inner.mkdir()
    (outer / "memory.max").write_text("max\n")
    monkeypatch.setattr(hardware, "_control_groups", lambda: [outer, inner])
    whole = hardware.memory()
    (outer / "memory.max").write_text("3000000\n")
    (inner / "memory.limit_in_bytes").write_text("2000000\n")
    assert hardware.memory() == 2_000_000
    assert whole is None or whole > 3_000_000
