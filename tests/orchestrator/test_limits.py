"""What is too large, a body or a number, is refused or left out, and is no fault of ours."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from orchestrator.models import Role
from orchestrator.services.tokens import create_token
from routing.models import RuleSet
from tests.caller import Caller
from tests.factories import make_order, make_user
from tests.routing.ward import image

pytestmark = pytest.mark.django_db
MB = 1 << 20
PARTS = "multipart/form-data; boundary=x"


def evaluate() -> str:
    return f"/api/v1/rule-sets/{RuleSet.objects.get_or_create(name='default')[0].pk}/evaluate/"


def send(path: str, length: str, kind: str = PARTS, **more: Any) -> Any:
    """Only the head says how long the body is: what reads it finds nothing."""
    return Client().generic("POST", path, b"x", content_type=kind, CONTENT_LENGTH=length, **more)


@pytest.mark.parametrize("length", [str(10 * MB + 1), str(100_000 * MB), "9" * 40])
def test_nobody_has_a_large_body_written_to_the_disk_by_the_sign_in_page(length: str) -> None:
    answer = send("/login/", length)
    assert answer.status_code == 413
    assert "At most 10 MB" in answer.text


def test_a_file_to_ask_the_rules_about_may_be_large_but_not_without_end() -> None:
    too_large = send(evaluate(), str(513 * MB))
    assert (too_large.status_code, too_large.headers["Content-Type"]) == (413, "application/problem+json")
    assert "512 MB" in too_large.json()["detail"]
    assert send(evaluate(), str(500 * MB)).status_code == 401, "whoever nobody knows is not read at all"
    assert send(evaluate(), str(11 * MB), "application/json").status_code == 413, "JSON is read into memory"
    assert send("/api/v1/patients/search/", str(11 * MB)).status_code == 413


def test_a_body_that_does_not_say_how_long_it_is_is_refused() -> None:
    for path in ("/login/", evaluate()):
        assert send(path, "", HTTP_TRANSFER_ENCODING="chunked").status_code == 411, path


def test_a_large_file_is_asked_about(tmp_path: Path) -> None:
    ds = image(make_order())
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData = bytes(12 * MB)
    ds.save_as(tmp_path / "object.dcm", enforce_file_format=True)
    content = BytesIO((tmp_path / "object.dcm").read_bytes())
    key = create_token(user=make_user(Role.PACS_ADMINISTRATOR), name="x")
    client = Client(headers={"Authorization": f"Token {key}"})
    answer = client.post(evaluate(), {"file": content, "draft": "true"})
    assert answer.status_code == 200, answer.text


HUGE = "9" * 20


@pytest.mark.parametrize(
    "page",
    [
        *(f"/{name}/?site={HUGE}" for name in ("studies", "patients", "orders", "messages", "worklist", "deliveries")),
        f"/exceptions/?site={HUGE}", f"/exceptions/?owner={HUGE}", f"/messages/?interface={HUGE}",
        f"/deliveries/?destination={HUGE}", f"/audit/?user={HUGE}",
        "/worklist/?day=0001-01-01", "/worklist/?day=9999-12-31",
    ],
)  # fmt: skip
def test_a_page_that_is_asked_for_a_huge_number_is_a_page(page: str) -> None:
    client = Client()
    client.force_login(make_user(Role.ADMINISTRATOR))
    assert client.get(page).status_code == 200


def test_a_huge_number_that_is_sent_names_nothing() -> None:
    client = Client()
    client.force_login(make_user(Role.ADMINISTRATOR))
    assert client.post("/exceptions/claim/", {"case": HUGE}).status_code < 400
    assert client.post("/shell/site/", {"site": HUGE}).status_code == 302
    assert client.get("/studies/").status_code == 200, "the site of the top bar is none"


@pytest.mark.parametrize("asked", ["orders/?patient=", "messages/?interface=", "deliveries/?destination="])
def test_a_script_that_asks_for_a_huge_number_is_told_so(asked: str) -> None:
    call = Caller(make_user(Role.PACS_ADMINISTRATOR))
    for number in (HUGE, f"-{HUGE}"):
        assert call("GET", f"{asked}{number}")["errors"], number
        assert call.status == 400
