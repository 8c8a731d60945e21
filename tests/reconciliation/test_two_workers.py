"""Two workers reconcile at the same moment: one order takes one study (promise 7), whoever comes first."""

import contextlib
import threading
from typing import Any

import pytest
from django.test import Client

from orchestrator.models import ExceptionCase, IdentityClaim, ImagingServiceRequest, Study
from orchestrator.services.workflow import transition
from orchestrator.states import Identity
from reconciliation.matching import Outcome
from reconciliation.services import reconcile
from reconciliation.services.decisions import match
from reconciliation.services.reconcile import reconcile_study
from reconciliation.views import seen
from tests.factories import make_order, make_study, make_user, step_of
from tests.together import at_once, many_writers

pytestmark = [pytest.mark.django_db(transaction=True), many_writers]


def meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both compare before either settles, as far as the locks let them: who waits for a lock does not come."""
    met, real = threading.Barrier(2), reconcile._doubtful

    def doubtful(study: Study, said: set[int]) -> set[int]:
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait(1)
        return real(study, said)

    monkeypatch.setattr(reconcile, "_doubtful", doubtful)


def two_studies_of(order: ImagingServiceRequest) -> list[Study]:
    """Both with all that the order says, under study UIDs of the modality's own; its MPPS has completed the step."""
    transition(step_of(order), "step.completed")
    return [make_study(order, uid=uid, requested_procedure_id="", sps_id="") for uid in ("2.25.71", "2.25.72")]


def test_two_studies_that_fit_one_order_are_not_both_matched_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two_studies_of(make_order())
    meeting(monkeypatch)
    assert not at_once(lambda: reconcile_study(first.pk), lambda: reconcile_study(second.pk))
    assert sorted(Study.objects.values_list("identity", flat=True)) == [Identity.HELD, Identity.MATCHED]
    assert ExceptionCase.objects.get().reason_code == "STEP_ALREADY_SATISFIED"


def test_a_person_and_a_worker_at_one_study_never_wait_for_each_other() -> None:
    user = make_user()
    for _ in range(5):
        order = make_order()
        study = make_study(order, patient_id="typed")
        reconcile_study(study.pk)
        case = ExceptionCase.objects.get(study=study)

        def decide(case_id: int = case.pk, order_id: int = order.pk) -> None:
            match(case_id=case_id, order_id=order_id, user=user, reason="Asked the ward")

        def work(study_id: int = study.pk) -> None:
            reconcile_study(study_id)

        assert not at_once(decide, work)
        study.refresh_from_db()
        assert study.identity == Identity.MATCHED


def test_a_person_at_the_form_and_a_worker_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    order = make_order()
    study = make_study(order, patient_id="typed")
    reconcile_study(study.pk)
    client, case = Client(), ExceptionCase.objects.get(study=study)
    client.force_login(make_user(), backend="django.contrib.auth.backends.ModelBackend")
    at_the_form, at_the_study, look, compare = threading.Event(), threading.Event(), seen.news, reconcile.compare

    def news(*what: Any) -> str:
        at_the_form.set()
        # As far as the locks let them: a worker who waits for the study does not come.
        at_the_study.wait(2)
        return look(*what)

    def compared(claim: IdentityClaim) -> Outcome:
        at_the_study.set()
        return compare(claim)

    def work() -> None:
        assert at_the_form.wait(30)
        reconcile_study(study.pk)

    monkeypatch.setattr(seen, "news", news)
    monkeypatch.setattr(reconcile, "compare", compared)
    url = f"/exceptions/{case.pk}/match/{order.pk}/"
    assert not at_once(lambda: client.post(url, {"reason": "Asked the ward"}), work)
    study.refresh_from_db()
    assert study.identity == Identity.MATCHED
