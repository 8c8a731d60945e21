"""A delivery stands at the site of its study."""

import pytest

from orchestrator.models import Role
from orchestrator.permissions import Viewer
from routing.models import Delivery
from routing.selectors import deliveries
from routing.services import destinations
from tests.factories import make_order, make_patient, make_site, make_study, make_user


@pytest.mark.django_db
def test_a_delivery_is_found_by_who_looks_after_the_site_of_its_study() -> None:
    main, lake = make_site("MAIN"), make_site("LAKE", issuer="LAKE")
    archive = destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=104)
    study = make_study(make_order(patient=make_patient("P1", site=main), site=main))
    delivery = Delivery.objects.create(study=study, destination=archive, rendition="original")
    assert delivery.site == study.site
    here, elsewhere = (Viewer.of(make_user(Role.PACS_ADMINISTRATOR, site=site)) for site in (study.site, lake))
    assert [each.pk for each in deliveries(here)] == [delivery.pk]
    assert not deliveries(elsewhere).exists()
    assert "study" not in str(deliveries(here).order_by("-created_at").values("pk").query).partition("WHERE")[2]
