"""`python3 requirements/install.py base|dev`: the virtual environment .venv with exactly the locked packages.

Needs nothing but Python (standard library). Does nothing when the lock file is the one installed last. `base` keeps
an up-to-date `dev` environment: it has the same packages and more.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV, TOOLS, LOCKS = ROOT / ".venv", ROOT / ".tools", ROOT / "requirements"
PYTHON = VENV / "bin" / "python"
UV = TOOLS / "bin" / "uv"
MARK = VENV / ".installed"
OLDEST, NEWEST = (3, 11), (3, 13)


def main(wanted: str) -> None:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        ours = sys.version.split()[0]
        sys.exit(f"Fiducial needs Python 3.11 to 3.13; this is {ours}. Name another: make PYTHON=python3.11")
    if MARK.exists() and MARK.read_text() in {_fingerprint(wanted), _fingerprint("dev")}:
        return
    if not PYTHON.exists():
        _create_venv()
    MARK.unlink(missing_ok=True)
    print(f"installing the packages of requirements/{wanted}.txt", flush=True)
    if not _install_with_uv(wanted):
        print("uv could not do it; trying pip", flush=True)
        _install_with_pip(wanted)
    MARK.write_text(_fingerprint(wanted))


def _fingerprint(name: str) -> str:
    digest = hashlib.sha256((LOCKS / f"{name}.txt").read_bytes()).hexdigest()
    return f"{name} {digest} python {sys.version_info[0]}.{sys.version_info[1]}\n"


def _create_venv() -> None:
    """With the standard library's venv; with uv where Debian's python3-venv is missing."""
    if importlib.util.find_spec("ensurepip"):
        _run([sys.executable, "-m", "venv", str(VENV)])
    elif uv := _uv(Path(sys.executable)):
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)])
    else:
        sys.exit("Python's venv module is incomplete here and there is no pip: apt-get install python3-venv")


def _uv(python: Path) -> str | None:
    """uv: ours of the locked version, else the machine's; None when there is no pip to get it with."""
    if UV.exists():
        return str(UV)
    lock = str(LOCKS / "installer.txt")
    pip = [str(python), "-m", "pip", "install", "-qq", "--target", str(TOOLS), "--require-hashes", "-r", lock]
    # Whatever kind of refusal it is, the machine's own uv or plain pip come next.
    if subprocess.run(pip, check=False, stderr=subprocess.DEVNULL).returncode == 0:
        return str(UV)
    return shutil.which("uv")


def _install_with_uv(wanted: str) -> bool:
    uv = _uv(PYTHON) or _uv(Path(sys.executable))
    if uv is None:
        return False
    lock = str(LOCKS / f"{wanted}.txt")
    # Compiled here, once: else each of a dozen processes does it at the first start, and at every start where
    # PYTHONDONTWRITEBYTECODE is set.
    sync = [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", str(PYTHON), "--require-hashes", lock]
    return subprocess.run(sync, check=False, env={**os.environ, **_sources_of_pip()}).returncode == 0


def _sources_of_pip() -> Mapping[str, str]:
    """Where pip is told to look for packages, told to uv too, which does not read pip's configuration."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    ).stdout
    found = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        words = " ".join(value.strip("'\"").replace("\\n", " ").split())
        found[name.rpartition(".")[2]] = words
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "cert": "SSL_CERT_FILE",
    }
    told = {ours: found[theirs] for theirs, ours in names.items() if theirs in found and ours not in os.environ}
    # As pip chooses among several sources; what may be installed is fixed by the hashes.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **told} if told else {}


def _install_with_pip(wanted: str) -> None:
    lock = str(LOCKS / f"{wanted}.txt")
    # An environment made by uv has no pip of its own; then this Python's pip works on it.
    own = subprocess.run([str(PYTHON), "-m", "pip", "--version"], check=False, capture_output=True).returncode == 0
    pip = [str(PYTHON), "-m", "pip"] if own else [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    _run([*pip, "install", "-qq", "--require-hashes", "-r", lock])


def _run(command: list[str]) -> None:
    """Run it, or end with its last words and one line of ours."""
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    if sys.argv[1:] not in (["base"], ["dev"]):
        sys.exit("usage: install.py base|dev")
    main(sys.argv[1])
