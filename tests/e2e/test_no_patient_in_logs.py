"""A patient with a name that nothing else has goes through every door, right and wrong: no log line names her."""

import datetime as dt
import http.cookiejar
import re
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.conftest import PASSWORD, Fiducial
from tests.e2e.speech import ct, order
from tests.peers import dcmtk, free_port, wait_for

pytestmark = pytest.mark.peer("dcmtk", "redis")

TODAY = dt.datetime.now(tz=dt.UTC).strftime("%Y%m%d")
NAME, MRN, ACCESSION, BORN = "Quillfeather^Zephyrine", "MRN774242", "A77114242", "19680314"
NEVER = (b"quillfeather", b"zephyrine", b"mrn774242", b"77114242", b"19680314", b"1968-03-14")


def _send(fiducial: Fiducial, files: list[Path]) -> None:
    words = ("-aec", "FIDUCIAL", "-aet", "CT_NORTH", "127.0.0.1", str(fiducial.dicom_port))
    dcmtk("storescu", *words, *map(str, files), check=False)


def _orders(fiducial: Fiducial) -> None:
    """One that is right, and the same wrong in several ways."""
    right = order(number="77114242", patient_id=MRN, name=NAME, day=TODAY)
    assert "MSA|AA|" in fiducial.hl7(right)
    for number, wrong in enumerate(
        (
            right.replace("ORM^O01^ORM_O01", "ZZZ^Z99"),
            right.replace(f"PID|1||{MRN}^^^NORTH^MR", "PID|1||"),
            right.replace("OBR|", "ZBR|"),
            right.replace("|19680314|", "|19681314|"),
            f"nothing of HL7, but of {NAME} {MRN}",
        )
    ):
        fiducial.hl7(wrong.replace("|NW77114242|", f"|W{number}|"))


def _pages(fiducial: Fiducial) -> str:
    """A person signs in and searches; the address of what was found."""
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))

    def ask(path: str, **posted: str) -> tuple[str, str]:
        token = next((cookie.value or "" for cookie in cookies if cookie.name == "csrftoken"), "")
        data = urllib.parse.urlencode({**posted, "csrfmiddlewaretoken": token}).encode() if posted else None
        with browser.open(f"{fiducial.url}{path}", data=data, timeout=30) as answer:
            return answer.url, answer.read().decode()

    ask("/login/")
    ask("/login/", username="admin", password=PASSWORD)
    address, found = ask("/patients/", q=NAME.partition("^")[0])
    assert MRN in found
    ask("/search/", q=MRN)
    ask("/orders/", q=ACCESSION)
    return address


def test_no_line_of_any_process_and_no_address_names_the_patient(fiducial: Fiducial, tmp_path: Path) -> None:
    made = {"name": "Nowhere", "ae_title": "NOWHERE", "host": "127.0.0.1", "port": free_port()}
    destination = fiducial.rest("POST", "destinations/", made)["id"]
    [rule_set] = fiducial.rest("GET", "rule-sets/")["results"]
    rules = [{"name": "all", "when": {"all": []}, "then": [{"action": "send", "destination": destination}]}]
    fiducial.rest("PUT", f"rule-sets/{rule_set['id']}/draft/", {"rules": rules})
    fiducial.rest("POST", f"rule-sets/{rule_set['id']}/publish/", {"comment": "everything goes nowhere"})

    _orders(fiducial)
    identity = {"PatientID": MRN, "PatientName": NAME, "PatientBirthDate": BORN, "PatientSex": "F"}
    matched, files = ct(tmp_path, {**identity, "AccessionNumber": ACCESSION}, day=TODAY)
    _send(fiducial, files)
    held, files = ct(tmp_path, {**identity, "PatientID": "typed", "AccessionNumber": ""}, day=TODAY)
    _send(fiducial, files)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(files[0].read_bytes()[:700])
    _send(fiducial, [cut])
    fiducial.wait_for_identity(matched, "MATCHED")
    fiducial.wait_for_identity(held, "HELD")

    assert fiducial.rest("GET", f"patients/?identifier={MRN}")["count"] == 1
    assert fiducial.rest("POST", "patients/search/", {"name": NAME.replace("^", " ")})["count"] == 1
    assert "quillfeather" not in _pages(fiducial).lower()

    def tried() -> bool:
        deliveries = fiducial.rest("GET", f"deliveries/?study_instance_uid={matched}")["results"]
        return bool(deliveries) and deliveries[0]["attempts"] > 0 and bool(deliveries[0]["last_error"])

    wait_for(tried, what="a delivery that failed", seconds=60)
    told = [fiducial.rest("GET", f"studies/{uid}/timeline/") for uid in (matched, held)]
    queue = fiducial.rest("GET", "exceptions/?page_size=500")["results"]
    log = (fiducial.folder / "up.log").read_bytes()
    assert b'"POST /patients/" 302' in log, "the access log is where this looks"
    assert not [word for word in NEVER if word in str(told).lower().encode()]
    assert not [word for word in NEVER if word in str(queue).lower().encode()]
    lines = [line for line in log.lower().splitlines() if any(word in line for word in (*NEVER, matched.encode()))]
    assert lines == []
    assert not re.search(rb'"[A-Z]+ [^"]*\?', log), "a query string"
