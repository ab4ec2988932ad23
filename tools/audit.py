"""Asks for known weaknesses of every locked version: `python -m tools.audit [flags of pip-audit]`.

Exit code 0: none is known. 1: some are, printed. 2: the advisories could not be asked, so nothing is known either way;
pip-audit's own code is 1 then, too, and its words speak of a package.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]


def locks() -> list[Path]:
    """All that are committed."""
    return sorted(REPOSITORY.glob("requirements*.txt"))


def audit(paths: Sequence[Path], flags: Sequence[str] = ()) -> int:
    """Prints what is known about the versions locked in `paths`; the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # --strict: what could not be asked about is no success.
        flags = ("--strict", "--disable-pip", "--require-hashes", "--progress-spinner=off", *flags)
        requirements = [part for path in paths for part in ("-r", path)]
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            *requirements,
            "--format=json",
            f"--output={report}",
            *flags,
        ]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if not report.exists():
            print(_not_asked(asked.stderr), file=sys.stderr)
            return 2
        packages = json.loads(report.read_text())["dependencies"]
    weak = [line for package in packages for line in _weaknesses(package)]
    print(*weak, sep="\n", end="\n" if weak else "")
    print(
        f"audit: {len(packages)} locked versions, {len(weak) or 'no'} known weakness{'es' * (len(weak) != 1)}"
    )
    return 1 if weak else 0


def _weaknesses(package: Any) -> list[str]:
    return [
        f"{package['name']} {package['version']}: {', '.join([each['id'], *each['aliases']])}; "
        f"fixed in {', '.join(each['fix_versions']) or 'no version yet'}: {each['description']}"
        for each in package["vulns"]
    ]


def _not_asked(told: str) -> str:
    last = next((line for line in reversed(told.splitlines()) if line.strip()), "it said nothing")
    return (
        f"audit: the advisories could not be asked, so nothing is known about what is locked. pip-audit says: {last}\n"
        "audit: is PyPI itself reached from here (a mirror of packages has no advisories)? "
        "Another one: make audit ARGS='--vulnerability-service=osv'"
    )


if __name__ == "__main__":
    sys.exit(audit(locks(), sys.argv[1:]))
