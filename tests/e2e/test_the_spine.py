"""One order and one image go all the way, over real sockets, between real peers."""

import datetime as dt
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from playwright.sync_api import Browser

from orchestrator.simulator.faults import FAULTS
from tests.e2e.conftest import PASSWORD, Fiducial
from tests.e2e.speech import ct, new_name, order
from tests.peers import Orthanc, dcmtk, listens, orthanc, wait_for

# The first test starts everything; the waits below have limits of their own.
pytestmark = [pytest.mark.peer("dcmtk", "orthanc", "redis"), pytest.mark.timeout(600)]

TODAY = dt.datetime.now(tz=dt.UTC).strftime("%Y%m%d")
JANE = {"PatientID": "0012345", "PatientName": "OKONKWO^ADAEZE", "PatientBirthDate": "19680314", "PatientSex": "F"}


def place(
    fiducial: Fiducial, number: str, *, patient_id: str = "0012345", name: str = "OKONKWO^ADAEZE", **more: str
) -> None:
    ack = fiducial.hl7(order(number=number, patient_id=patient_id, name=name, day=TODAY, **more))
    assert "MSA|AA|" in ack, ack


def send(fiducial: Fiducial, files: list[Path]) -> None:
    dcmtk("storescu", "-aec", "FIDUCIAL", "-aet", "CT_NORTH", "127.0.0.1", str(fiducial.dicom_port), *map(str, files))


def on_worklist(fiducial: Fiducial, number: str, attribute: str = "(0020,000d)") -> str | None:
    """What the worklist says of the step (its study UID), or None while the step is not there."""
    answer = dcmtk(
        "findscu", "-W", "-aec", "FIDUCIAL", "-aet", "CT_NORTH",
        "-k", "ScheduledProcedureStepSequence[0].Modality=CT",
        "-k", f"ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate={TODAY}",
        "-k", f"AccessionNumber=A{number}", "-k", "StudyInstanceUID", "-k", "PatientName",
        "127.0.0.1", str(fiducial.dicom_port),
    )  # fmt: skip
    for line in answer.stdout.splitlines():
        if attribute in line and "[" in line and "no value" not in line:
            return line.partition("[")[2].partition("]")[0].strip("\0 ")
    return None


def held_by(archive: Orthanc, study_instance_uid: str) -> list[dict[str, Any]]:
    """The instances of a study in the archive, with their main tags."""
    studies = archive.rest("/tools/find", {"Level": "Instance", "Query": {"StudyInstanceUID": study_instance_uid}})
    return [archive.rest(f"/instances/{each}/simplified-tags") for each in studies]


def test_an_order_is_on_the_worklist_and_its_images_reach_the_archive(
    fiducial: Fiducial, archive: Orthanc, tmp_path: Path
) -> None:
    place(fiducial, "1001")
    uid = wait_for(lambda: on_worklist(fiducial, "1001"), what="step on the worklist")
    _, files = ct(tmp_path, {**JANE, "AccessionNumber": "A1001"}, day=TODAY, study_instance_uid=uid)
    send(fiducial, files)
    study = fiducial.wait_for_identity(uid, "MATCHED")
    assert (study["matched_by"], study["order"]["accession_number"]) == ("auto", "A1001")
    wait_for(lambda: len(held_by(archive, uid)) == 2, what="images in the archive", seconds=60)
    wait_for(lambda: (fiducial.study(uid) or {}).get("custody") == "DELIVERED", what="custody", seconds=30)
    names = [event["name"] for event in fiducial.rest("GET", f"studies/{uid}/timeline/")]
    for name in ("order.placed", "study.received", "claim.matched", "study.matched", "delivery.sent"):
        assert name in names
    assert names.index("study.received") < names.index("study.matched") < names.index("delivery.sent")


def test_a_changed_name_is_in_the_next_answer_of_the_worklist(fiducial: Fiducial) -> None:
    place(fiducial, "1005", patient_id="0077", name="BAUER^ANNA")
    wait_for(lambda: on_worklist(fiducial, "1005"), what="step on the worklist")
    assert "MSA|AA|" in fiducial.hl7(new_name(patient_id="0077", name="MÜLLER^ANNA", day=TODAY))
    wait_for(
        lambda: "LLER^ANNA" in (on_worklist(fiducial, "1005", "(0010,0010)") or ""), what="the new name", seconds=20
    )


def test_a_study_of_somebody_else_is_held_and_goes_nowhere(
    fiducial: Fiducial, archive: Orthanc, tmp_path: Path
) -> None:
    place(fiducial, "1002")
    somebody = {"PatientID": "999", "PatientName": "SOMEBODY^ELSE", "PatientBirthDate": "19500101", "PatientSex": "M"}
    uid, files = ct(tmp_path, {**somebody, "AccessionNumber": "A1002"}, day=TODAY)
    send(fiducial, files)
    fiducial.wait_for_identity(uid, "HELD")
    cases = fiducial.rest("GET", f"exceptions/?status=open&study_instance_uid={uid}")["results"]
    assert len(cases) == 1
    assert held_by(archive, uid) == []


def test_images_that_come_before_their_order_are_matched_when_it_arrives(
    fiducial: Fiducial, archive: Orthanc, tmp_path: Path
) -> None:
    uid, files = ct(tmp_path, {**JANE, "AccessionNumber": "A1003"}, day=TODAY)
    send(fiducial, files)
    fiducial.wait_for_identity(uid, "HELD")
    place(fiducial, "1003")
    fiducial.wait_for_identity(uid, "MATCHED")
    wait_for(lambda: len(held_by(archive, uid)) == 2, what="images in the archive", seconds=60)


def test_what_orthanc_sends_us_is_matched_like_what_a_modality_sends(
    fiducial: Fiducial, archive: Orthanc, tmp_path: Path
) -> None:
    place(fiducial, "1006")
    uid = wait_for(lambda: on_worklist(fiducial, "1006"), what="step on the worklist")
    _, files = ct(tmp_path, {**JANE, "AccessionNumber": "A1006"}, day=TODAY, study_instance_uid=uid)
    us = {"fiducial": ("FIDUCIAL", "127.0.0.1", fiducial.dicom_port)}
    # It calls by the station's title, as a gateway in front of a modality does.
    with orthanc(tmp_path / "gateway", ae_title="CT_NORTH", modalities=us) as gateway:
        sent = gateway.rest("/modalities/fiducial/store", {"Resources": [gateway.upload(file) for file in files]})
        assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (2, 0)
    fiducial.wait_for_identity(uid, "MATCHED")
    wait_for(lambda: len(held_by(archive, uid)) == 2, what="images in the archive", seconds=60)


def test_a_decision_that_is_taken_back_after_delivery_asks_about_what_has_arrived(
    fiducial: Fiducial, archive: Orthanc, tmp_path: Path
) -> None:
    place(fiducial, "1007")
    uid, files = ct(tmp_path, {**JANE, "PatientID": "12345"}, day=TODAY)
    send(fiducial, files)
    fiducial.wait_for_identity(uid, "HELD")
    [case] = fiducial.rest("GET", f"exceptions/?status=open&study_instance_uid={uid}")["results"]
    ranked = fiducial.rest("GET", f"exceptions/{case['id']}/candidates/")
    [order_id] = [each["order"]["id"] for each in ranked if each["order"]["accession_number"] == "A1007"]
    decision = {"order": order_id, "reason": "The name band says so", "remember": True}
    fiducial.rest("POST", f"exceptions/{case['id']}/match/", decision)
    wait_for(lambda: len(held_by(archive, uid)) == 2, what="images in the archive", seconds=60)
    fiducial.rest("POST", f"exceptions/{case['id']}/undo/", {"reason": "It was the other Okonkwo"})
    fiducial.wait_for_identity(uid, "HELD")

    def kinds() -> set[str]:
        cases = fiducial.rest("GET", f"exceptions/?status=open&study_instance_uid={uid}")["results"]
        return {each["kind"] for each in cases}

    wait_for(lambda: kinds() == {case["kind"], "already_delivered"}, what="a case for the archive", seconds=30)


@pytest.mark.peer("chromium")
def test_a_person_resolves_a_held_study_in_the_browser_and_it_arrives_corrected(
    fiducial: Fiducial, archive: Orthanc, tmp_path: Path, browser: Browser
) -> None:
    place(fiducial, "1004")
    typed_in = {**JANE, "PatientID": "12345", "PatientName": "OKONKWO^ADAESE"}
    uid, files = ct(tmp_path, typed_in, day=TODAY)
    send(fiducial, files)
    fiducial.wait_for_identity(uid, "HELD")
    [case] = fiducial.rest("GET", f"exceptions/?status=open&study_instance_uid={uid}")["results"]

    page = browser.new_page(base_url=fiducial.url)
    page.goto(f"/exceptions/{case['id']}/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    candidate = page.locator("[data-accession='A1004']")
    if candidate.get_attribute("open") is None:
        candidate.locator("summary").click()
    candidate.get_by_role("link", name="Match to this order").or_(
        candidate.get_by_role("button", name="Match to this order")
    ).first.click()
    page.get_by_label("Reason").fill("Typed in at the console; the name band agrees")
    page.get_by_role("button", name="Match", exact=True).click()

    study = fiducial.wait_for_identity(uid, "MATCHED")
    assert study["matched_by"] == "person"
    wait_for(lambda: len(held_by(archive, uid)) == 2, what="images in the archive", seconds=60)
    for tags in held_by(archive, uid):
        assert (tags["PatientID"], tags["AccessionNumber"]) == ("0012345", "A1004")
        assert tags["PatientName"].startswith("OKONKWO^ADAEZE")
        [original] = tags["OriginalAttributesSequence"]
        assert original["ModifiedAttributesSequence"][0]["PatientID"] == "12345"


VICTIMS = ("listen_dicom", "listen_hl7", "worker", "valkey-server", "fork_server", "web", " beat ")


@pytest.mark.parametrize("victim", VICTIMS)
def test_after_kill_9_nothing_acknowledged_is_missing(
    victim: str, fiducial: Fiducial, archive: Orthanc, tmp_path: Path
) -> None:
    if victim == "valkey-server" and os.environ.get("DATABASE_URL"):
        pytest.skip("on real servers the broker is not ours")
    # What the test before killed is up again.
    for port in (fiducial.hl7_port, fiducial.dicom_port, fiducial.http_port):
        wait_for(partial(listens, port), what="all listeners", seconds=60)
    number = f"2{VICTIMS.index(victim):03}"
    uid, files = ct(tmp_path, {**JANE, "AccessionNumber": f"A{number}"}, day=TODAY)
    place(fiducial, number)
    send(fiducial, files)
    fiducial.kill(victim)
    wait_for(lambda: len(held_by(archive, uid)) == 2, what=f"images in the archive after kill of {victim}", seconds=120)
    wait_for(partial(listens, fiducial.http_port), what="the portal", seconds=60)
    study = fiducial.wait_for_identity(uid, "MATCHED")
    assert study["order"]["accession_number"] == f"A{number}"


def test_a_hospital_full_of_faults_in_which_everything_is_killed_ends_with_nothing_wrong(
    fiducial: Fiducial, archive: Orthanc, tmp_path: Path
) -> None:
    """The simulated hospital works on while one process after the other is killed; it knows what is true.

    Each kind of fault once: half of them on SQLite, the others on PostgreSQL.
    """
    report = tmp_path / "report.json"
    faults = sorted(FAULTS)[connection.vendor == "postgresql" :: 2]
    shares = ",".join(f"{each}={0.999 / len(faults):.4f}" for each in faults)
    words = ["--once", "--patients", str(len(faults)), "--faults", shares, "--seed", "11"]
    words += ["--archive-port", "0", "--moody"]
    with subprocess.Popen(
        [sys.executable, "manage.py", "simulate", *words, "--report", str(report), "--token", fiducial.token],
        env=fiducial.environment, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as hospital:  # fmt: skip
        assert hospital.stdout is not None
        said, victims = [], [each for each in VICTIMS if fiducial.pids(each)]
        for line in hospital.stdout:
            said.append(line)
            # In the middle of things: somebody's images have just gone out. What is not up again is killed later.
            if "sent study" in line and victims and fiducial.pids(victims[-1]):
                fiducial.kill(victims.pop())
    told = json.loads(report.read_text())
    assert not victims
    assert (hospital.returncode, told["wrong"], told["unexplained"]) == (0, 0, 0), "".join(said)
    assert set(told["faults"]) == set(faults)
    assert told["studies"] == told["right"] + told["held"] >= len(faults)
    for exam in told["details"]:
        study = fiducial.study(exam["study_instance_uid"])
        assert study is not None
        assert study["number_of_instances"] >= exam["instances"]
