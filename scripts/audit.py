"""Asks the package index for known vulnerabilities of the packages in the lock files; exit code 1 if there are any.

If the index cannot be reached or does not know, the script reports that and does not fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Vulnerabilities that do not affect seqadd: id -> reason.
EXCEPTIONS: dict[str, str] = {}

CLONE = Path(__file__).parents[1]
LOCKS = (CLONE / "requirements.lock", CLONE / "docs" / "requirements.lock")


def main() -> int:
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--format", "json"),
            *(word for lock in LOCKS for word in ("--requirement", str(lock))),
            *("--no-deps", "--disable-pip", "--progress-spinner", "off"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = asked.stderr.strip().rpartition("\n")[2]
        print(f"dependencies not audited: the index does not answer ({reason[:120]})")
        return 0
    known = [package for package in packages if "skip_reason" not in package]
    found = [
        f"{package['name']} {package['version']}: {each['id']}, fixed in {', '.join(each['fix_versions']) or 'none'}"
        for package in known
        for each in package["vulns"]
        if each["id"] not in EXCEPTIONS
    ]
    print(f"dependencies: {len(known)} of {len(packages)} known to the index's audit, {len(found)} vulnerabilities")
    print("".join(f"  {line}\n" for line in found), end="")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
