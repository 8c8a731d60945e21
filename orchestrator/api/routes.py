"""Addresses of the ground's REST resources."""

from django.urls import URLPattern, URLResolver
from rest_framework.routers import SimpleRouter

from orchestrator.api import jobs, kpis, messages, orders, patients, peers, people, studies

router = SimpleRouter()
router.register("patients", patients.PatientResource)
router.register("orders", orders.OrderResource)
router.register("studies", studies.StudyResource)
router.register("messages", messages.MessageResource)
router.register("issuers", peers.IssuerResource)
router.register("application-entities", peers.ApplicationEntityResource)
router.register("interfaces", peers.InterfaceResource)
router.register("users", people.UserResource)
router.register("tokens", people.TokenResource)
router.register("sites", people.SiteResource)
router.register("audit", people.AuditResource)
router.register("kpis", kpis.KpiResource, basename="kpi")
router.register("jobs", jobs.JobResource)

urlpatterns: list[URLPattern | URLResolver] = router.urls
