"""What the doctor finds of the peers that we send to."""

import pytest

from orchestrator.services.diagnostics import Level
from routing.services.diagnostics import check_destinations
from tests.routing.ward import destination, peer

pytestmark = pytest.mark.django_db

VERIFICATION = "1.2.840.10008.1.1"


def test_a_peer_that_answers_is_well_and_one_that_does_not_is_told_with_its_address() -> None:
    with peer(sop_classes=(VERIFICATION,)) as archive:
        destination(archive.port, name="Archive")
        silent = destination(name="Silent", ae_title="SILENT")
        well, ill = check_destinations()
    assert (well.level, well.what.partition(" in ")[0]) == (Level.OK, "peer Archive: answers C-ECHO")
    assert (ill.level, ill.what) == (
        Level.WARN, "peer Silent: The peer could not be reached, or ended the association at once.",
    )  # fmt: skip
    assert f"SILENT at 127.0.0.1 port {silent.port}; it must know us as FIDUCIAL" in ill.advice


def test_a_paused_peer_is_not_asked() -> None:
    archive = destination(name="Archive")
    archive.paused = True
    archive.save()
    [told] = check_destinations()
    assert (told.level, told.what) == (Level.WARN, "peer Archive: paused")
