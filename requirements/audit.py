"""Known vulnerabilities in the locked packages: findings fail, an unreachable advisory service is only said."""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("base.txt")
# What pip-audit's log says when it reached nobody, whichever layer noticed.
_UNREACHABLE = ("ConnectionError", "ServiceError", "Max retries", "Timeout", "resolve", "refused", "503", "502", "504")


def main() -> int:
    audit = subprocess.run(
        [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--disable-pip", "--require-hashes", "-f", "json"],
        check=False,
        capture_output=True,
        text=True,
    )
    try:
        packages = json.loads(audit.stdout)["dependencies"]
    except (ValueError, KeyError):
        return _without_answer(audit.stderr)
    findings = [(package, found) for package in packages for found in package.get("vulns", [])]
    for package, found in findings:
        fixed = ", ".join(found["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    skipped = sum("skip_reason" in package for package in packages)
    asked = f"{len(packages) - skipped} of {len(packages)} packages asked for"
    if skipped == len(packages):
        print("dependency audit: NOT DONE, the advisory service knows none of the packages")
    else:
        print(f"dependency audit: {asked}, {len(findings)} known vulnerabilities")
    return 1 if findings else 0


def _without_answer(log: str) -> int:
    last = (log.strip() or "no output").splitlines()[-1]
    if any(word in log for word in _UNREACHABLE):
        print(f"dependency audit: NOT DONE, the advisory service cannot be reached ({last[:150]})")
        return 0
    print(f"dependency audit failed: {log}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
