"""How ``make check`` evaluates the package index's answers about known vulnerabilities."""

import json
import runpy
import subprocess
from pathlib import Path

import pytest

AUDIT = str(Path(__file__).parents[1] / "scripts" / "audit.py")
KNOWN = {"name": "one", "version": "1.0", "vulns": []}
VULNERABLE = {"name": "two", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "three", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ([KNOWN, UNKNOWN], 0, "dependencies: 1 of 2 known to the index's audit, 0 vulnerabilities\n"),
        ([KNOWN, VULNERABLE], 1, "two 2.0: CVE-1, fixed in 2.1"),
        (None, 0, "dependencies not audited: the index does not answer (no connection)"),
    ],
)
def test_vulnerabilities_fail_and_an_index_that_does_not_answer_does_not(answer, code, said, monkeypatch, capsys):
    stdout = "" if answer is None else json.dumps({"dependencies": answer})
    answered = subprocess.CompletedProcess([], 1, stdout, "Traceback\nno connection\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **settings: answered)
    assert runpy.run_path(AUDIT)["main"]() == code
    assert said in capsys.readouterr().out
