"""The house itself: what is locked, what is vendored, under which licences."""

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest

from orchestrator.supervisor.fleet import POOLS

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def _licences(package: str) -> str:
    """All that a package says of its licence, in one line."""
    told = metadata(package).json
    said = [str(told.get("license_expression", "")), str(told.get("license", ""))[:80], *told.get("classifier", [])]
    return " | ".join(each for each in said if each and (not each.count("::") or each.startswith("License")))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locked_packages_have_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    packages = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert packages
    assert all("--hash=sha256:" in package for package in packages)


def test_what_the_product_stands_on_is_free_to_use() -> None:
    """No GPL, no AGPL. psycopg is LGPL: used as it comes, and replaceable."""
    told = {name: _licences(name) for name in _LOCKED.findall((ROOT / "requirements" / "base.txt").read_text())}
    assert all(told.values()), [name for name, licence in told.items() if not licence]
    copyleft = {name for name, licence in told.items() if re.search(r"GPL|General Public", licence)}
    assert copyleft == {"psycopg", "psycopg-binary"}
    assert all("LGPL" in told[name] for name in copyleft)


def test_what_is_vendored_has_its_licence_beside_it() -> None:
    vendored = [folder for folder in (ROOT / "static" / "vendor").iterdir() if folder.is_dir()]
    assert vendored
    assert [folder.name for folder in vendored if not list(folder.glob("LICENSE*"))] == []


def test_rows_are_counted_without_reading_the_table_beside_its_index() -> None:
    apps = ("orchestrator", "reconciliation", "routing", "worklists")
    counting = [path for app in apps for path in (ROOT / app).rglob("*.py") if 'Count("pk")' in path.read_text()]
    assert counting == []


def test_every_process_has_a_unit_that_waits_until_it_is_ready() -> None:
    started = {unit.name: re.findall(r"^ExecStart=\S+/python (.*)$", unit.read_text(), re.M)[0] for unit in UNITS}
    assert {name.removeprefix("fiducial").removesuffix(".service") for name in started} == {
        "", "-web", "-dicom", "-hl7", "-beat", "-worker@",
    }  # fmt: skip
    commands = {words.split()[1] for words in started.values() if words.startswith("manage.py")}
    assert commands == {"up", "web", "listen_dicom", "listen_hl7"}
    for command in commands:
        assert (ROOT / "orchestrator" / "management" / "commands" / f"{command}.py").exists()
    assert all("Type=notify" in unit.read_text() for unit in UNITS)
    target = (ROOT / "deploy" / "systemd" / "fiducial.target").read_text()
    assert set(re.findall(r"fiducial-worker@(\w+)\.service", target)) == set(POOLS)


def test_every_unit_is_confined_in_the_same_way() -> None:
    confined = {
        tuple(
            re.findall(
                r"^(?:NoNew|Protect|Private|Restrict|Lock|SystemCall|Capab|UMask|User).*$", unit.read_text(), re.M
            )
        )
        for unit in UNITS
    }
    assert len(confined) == 1
    [settings] = confined
    assert {"User=fiducial", "UMask=0077", "NoNewPrivileges=yes", "ProtectSystem=strict"} <= set(settings)
