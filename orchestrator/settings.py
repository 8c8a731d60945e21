"""Settings, read from the environment (see docs/operations.md for the table).

The bell boards and registries below are the only places where the ground reaches up into the apps that
stand on it: dotted names, resolved late, and checked by `manage.py check` (orchestrator/checks.py).
"""

import contextlib
import hashlib
import os
import re
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import dj_database_url
from csp.constants import NONE, SELF
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent


class Environment(BaseSettings):
    """What an operator may set. Names are a promise (docs/operations.md)."""

    model_config = SettingsConfigDict(env_prefix="FIDUCIAL_", extra="ignore")

    database_url: str = Field("", validation_alias="DATABASE_URL", pattern="^(postgres(ql)?://.+)?$")
    redis_url: str = Field("", validation_alias="REDIS_URL", pattern=r"^((rediss?|redis\+socket)://.+)?$")
    data_dir: Path = BASE_DIR / "data"
    http_host: str = "127.0.0.1"
    http_port: int = Field(8000, ge=1, le=65535)
    dicom_host: str = "127.0.0.1"
    dicom_port: int = Field(11112, ge=1, le=65535)
    # PS3.5 6.2, AE: plain characters without a backslash, not only spaces.
    ae_title: str = Field("FIDUCIAL", max_length=16, pattern=r"^ *[!-\[\]-~][ -\[\]-~]*$")
    hl7_host: str = "127.0.0.1"
    hl7_port: int = Field(2575, ge=1, le=65535)
    dicom_processes: int = Field(2, ge=1)
    workers: int = Field(2, ge=1)
    admin_password: str = ""
    secret_key: str = ""
    debug: bool = False
    allowed_hosts: str = ""
    trust: Literal["loopback", "known"] = "loopback"
    behind_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    study_quiet_seconds: float = Field(20.0, gt=0)
    spool_reserve_mb: int = Field(512, ge=0)


def _read_environment() -> Environment:
    """A bad setting is one clear line, without its value (it may be a secret), and not a traceback."""
    try:
        return Environment()  # type: ignore[call-arg]  # every field is read from the environment or has a default
    except ValidationError as error:
        sys.exit("\n".join(f"Bad setting: {_variable(each['loc'])}: {each['msg']}" for each in error.errors()))


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]).upper()
    return name if name in {"DATABASE_URL", "REDIS_URL"} else f"FIDUCIAL_{name}"


env = _read_environment()


def _private_dir(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _secret_key() -> str:
    """The key from the environment, or one generated once into the data directory (mode 0600)."""
    path = DATA_DIR / "secret_key"
    if not env.secret_key and not path.exists():
        # Whole or not there: of several processes that start at once one wins, and a full disk leaves no empty key.
        with tempfile.NamedTemporaryFile("w", dir=DATA_DIR, prefix=".secret_key-") as file:
            file.write(secrets.token_urlsafe(50))
            file.flush()
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
    return env.secret_key or path.read_text()


def _broker_socket() -> Path:
    """Where the embedded broker listens. A unix socket's path is limited to 108 bytes."""
    path = RUN_DIR / "valkey.sock"
    if len(os.fsencode(path)) < 100:
        return path
    digest = hashlib.sha256(os.fsencode(DATA_DIR)).hexdigest()[:16]
    short = _private_dir(Path(tempfile.gettempdir()) / f"fiducial-{os.getuid()}-{digest}")
    if short.stat().st_uid != os.getuid():
        raise PermissionError(f"{short} belongs to another user: set FIDUCIAL_DATA_DIR to a shorter path.")
    return short / "valkey.sock"


# --- where things are ---------------------------------------------------------------------------------
try:
    DATA_DIR = _private_dir(env.data_dir.resolve())
    RUN_DIR, SPOOL_DIR = _private_dir(DATA_DIR / "run"), _private_dir(DATA_DIR / "spool")
    BROKER_SOCKET, SECRET_KEY = _broker_socket(), _secret_key()
except OSError as unusable:
    sys.exit(f"Bad setting: FIDUCIAL_DATA_DIR: {env.data_dir} cannot be used: {unusable}")
HTTP_HOST, HTTP_PORT = env.http_host, env.http_port
DICOM_HOST, DICOM_PORT, AE_TITLE = env.dicom_host, env.dicom_port, env.ae_title
HL7_HOST, HL7_PORT = env.hl7_host, env.hl7_port
DICOM_PROCESSES, WORKERS = env.dicom_processes, env.workers
TRUST, BEHIND_PROXY, ADMIN_PASSWORD = env.trust, env.behind_proxy, env.admin_password
TLS_CERT, TLS_KEY, TLS_CA = env.tls_cert, env.tls_key, env.tls_ca
STUDY_QUIET_SECONDS, SPOOL_RESERVE_BYTES = env.study_quiet_seconds, env.spool_reserve_mb * 1024 * 1024
EMBEDDED_BROKER = not env.redis_url
# So long after its worker was killed a piece of work is another's; a living worker's heartbeat prolongs it. Longer than
# SQLite lets a heartbeat wait for another writer.
LEASE_SECONDS = 30.0

# --- Django -------------------------------------------------------------------------------------------
DEBUG = env.debug
ALLOWED_HOSTS = [*filter(None, map(str.strip, env.allowed_hosts.split(","))), "127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "orchestrator.urls"
WSGI_APPLICATION = "orchestrator.wsgi.application"
ASGI_APPLICATION = "orchestrator.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "orchestrator.User"

INSTALLED_APPS = [
    "orchestrator",
    "reconciliation",
    "routing",
    "worklists",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "simple_history",
    "axes",
    "csp",
]

MIDDLEWARE = [
    "orchestrator.api.limits.BodyLimitMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "orchestrator.middleware.NulMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "orchestrator.api.errors.ClothedMiddleware",
    "orchestrator.middleware.ActorMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "orchestrator.views.shell.shell",
            ],
        },
    },
]

_SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": DATA_DIR / "fiducial.sqlite3",
    # Seconds: a worker that opened it for each task would spend more on that than on most tasks.
    "CONN_MAX_AGE": 60,
    "OPTIONS": {
        # IMMEDIATE: a transaction that reads and then writes must not fail half-way (docs/adr/0005).
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # synchronous=FULL: an acknowledgement promises that the commit survives a power cut.
        # wal_autocheckpoint (pages): what each commit writes anew, as the end of an index, goes to the database once in
        # 16 MB of log, not in 4.
        "init_command": (
            "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA wal_autocheckpoint=4000;PRAGMA cache_size=-20000;"
            "PRAGMA temp_store=MEMORY;PRAGMA journal_size_limit=27103364;"
        ),
    },
}
DATABASES: dict[str, dict[str, Any]] = {
    "default": dict(dj_database_url.parse(env.database_url, conn_max_age=60)) if env.database_url else _SQLITE
}

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "login", "/", "login"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "registration/locked_out.html"
AXES_VERBOSE = False

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_MANIFEST_STRICT = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024  # of any body, but for:
FILE_LIMITS = {r"^/api/v1/rule-sets/[^/]+/evaluate/$": 512 * 1024 * 1024}  # multipart/form-data, a DICOM file in it

# --- security -----------------------------------------------------------------------------------------
_TLS_WEB = TLS_CERT is not None or env.behind_proxy
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _TLS_WEB
# Behind a proxy that ends TLS, plain requests are sent to HTTPS; without one, the web process speaks only one of both.
SECURE_SSL_REDIRECT = env.behind_proxy
# What probes and the supervisor ask on loopback, past the proxy.
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$", "^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if _TLS_WEB else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _TLS_WEB
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.behind_proxy else None
SECURE_REFERRER_POLICY = "no-referrer"
SESSION_COOKIE_AGE = 12 * 3600
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # Tabler's form icons are data: images inside its stylesheet.
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}

# --- logging: row ids and UIDs of ours, never names or patient ids -----------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # A port scan or random bytes would be told in a dozen lines; the listener says it in one of its own.
        "pynetdicom": {"level": "CRITICAL"},
        "pydicom": {"level": "ERROR"},
        # 4xx stand in the access log, without query strings.
        "django.request": {"level": "ERROR"},
        # A line for each task's coming and going would drown what matters; failures still show.
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
    },
}

# --- REST ---------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "orchestrator.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["orchestrator.api.authentication.ActionPermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "orchestrator.api.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "orchestrator.api.errors.problem_details",
    "PAGE_SIZE": 100,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Fiducial",
    "DESCRIPTION": "The control plane of radiology.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {
        "OrderStatus": "orchestrator.states.OrderStatus",
        "StepStatus": "orchestrator.states.StepStatus",
        "CaseStatus": "orchestrator.states.CaseStatus",
        "InboundStatus": "orchestrator.states.InboundStatus",
        "DeliveryStatus": "orchestrator.states.DeliveryStatus",
        "JobStatus": "orchestrator.states.JobStatus",
        "VisitStatus": "orchestrator.states.VisitStatus",
        "Identity": "orchestrator.states.Identity",
    },
}

# --- Celery: a bell, not a store (docs/adr/0003) --------------------------------------------------------
CELERY_BROKER_URL = env.redis_url or f"redis+socket://{BROKER_SOCKET}?virtual_host=0"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 2,
    "socket_timeout": 5,
    "visibility_timeout": 3600,
    # A bell that cannot be rung at once is left to the sweep: an acknowledgement must not wait for the broker.
    "max_retries": 0,
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = "rest"
CELERY_TASK_ROUTES = {
    "orchestrator.tasks.apply_messages": {"queue": "hl7"},
    "routing.tasks.deliver": {"queue": "deliver"},
}
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "orchestrator.tasks.sweep",
        "schedule": 5.0,
        # A sweep that waited longer than its period says nothing new.
        "options": {"expires": 5.0},
    },
}

# --- the cache: counts that all web processes show alike, beside the broker -----------------------------


def _cache_address(broker: str) -> str:
    """The broker's address as redis-py writes it, where Celery writes it otherwise."""
    address = broker.replace("redis+socket://", "unix://", 1).replace("virtual_host=", "db=", 1)
    return re.sub(r"ssl_cert_reqs=CERT_(\w+)", lambda found: f"ssl_cert_reqs={found[1].lower()}", address)


CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "orchestrator.services.shared_cache.SharedCache",
        "LOCATION": [_cache_address(CELERY_BROKER_URL)],
        "KEY_PREFIX": "fiducial",
        "OPTIONS": {
            "serializer": "orchestrator.services.shared_cache.PlainSerializer",
            "socket_connect_timeout": 0.5,
            "socket_timeout": 0.5,
        },
    }
}

# --- the bell boards ----------------------------------------------------------------------------------
# event name -> subscribers; each subscriber gets a row of its own in the event's transaction (models/workflow.py)
# and is called as subscriber(subject_id) by a worker, at least once.
EVENT_SUBSCRIBERS: dict[str, list[str]] = {
    "study.received": ["reconciliation.services.reconcile.reconcile_study"],
    "order.scheduled": ["orchestrator.services.kpi_rollups.order_scheduled"],
    "order.placed": ["reconciliation.services.reconcile.rematch_for_order"],
    "order.changed": ["reconciliation.services.changes.order_changed"],
    "patient.updated": ["reconciliation.services.changes.patient_changed"],
    "case.opened": ["orchestrator.services.kpi_rollups.case_moved"],
    "case.reopened": ["orchestrator.services.kpi_rollups.case_moved"],
    "case.resolved": ["orchestrator.services.kpi_rollups.case_moved"],
    "case.dismissed": [
        "orchestrator.services.messages.give_up_dismissed",
        "orchestrator.services.kpi_rollups.case_moved",
    ],
    "claim.matched": ["orchestrator.services.kpi_rollups.claim_judged"],
    "claim.held": ["orchestrator.services.kpi_rollups.claim_judged"],
    "claim.rejected": ["orchestrator.services.kpi_rollups.claim_judged"],
    "study.disowned": ["reconciliation.services.reconcile.hold_disowned"],
    "study.reconciled": ["routing.services.route.route_study"],
    "claim.unmatched": ["routing.services.route.withdraw_claim"],
    "claim.corrected": ["routing.services.route.route_corrected"],
    "rule_set.published": ["routing.services.route.route_waiting"],
}
# subscriber -> function(subject_ids) that does for many at once what it does for one: for what need not be done at
# once and costs less together. Nobody is rung, the sweep calls it.
GATHERED_SUBSCRIBERS: dict[str, str] = {
    f"orchestrator.services.kpi_rollups.{one}": f"orchestrator.services.kpi_rollups.{many}"
    for one, many in {
        "claim_judged": "claims_judged", "case_moved": "cases_moved", "order_scheduled": "orders_scheduled",
    }.items()
}  # fmt: skip
# first part of a subscriber's dotted name -> the queue whose workers call it
SUBSCRIBER_QUEUES = {"reconciliation": "hl7"}

# HL7 message type -> function(message: orchestrator.hl7.messages.Message, inbound: InboundMessage) -> None
HL7_HANDLERS: dict[str, str] = {
    "ADT^A01": "orchestrator.hl7.handlers.adt",
    "ADT^A04": "orchestrator.hl7.handlers.adt",
    "ADT^A08": "orchestrator.hl7.handlers.adt",
    "ADT^A31": "orchestrator.hl7.handlers.adt",
    "ORM^O01": "orchestrator.hl7.handlers.orm",
}

# (DIMSE command, SOP class UID or "*") -> function(request) -> iterable of responses (dimse/messages.py)
DIMSE_HANDLERS: dict[tuple[str, str], str] = {
    ("C-ECHO", "*"): "orchestrator.dimse.store_scp.echo",
    ("C-STORE", "*"): "orchestrator.dimse.store_scp.store",
    # Modality Worklist Information Model FIND.
    ("C-FIND", "1.2.840.10008.5.1.4.31"): "worklists.dimse.find_worklist",
    # Modality Performed Procedure Step.
    ("N-CREATE", "1.2.840.10008.3.1.2.3.3"): "worklists.dimse.create_mpps",
    ("N-SET", "1.2.840.10008.3.1.2.3.3"): "worklists.dimse.set_mpps",
    # Modality Performed Procedure Step Retrieve.
    ("N-GET", "1.2.840.10008.3.1.2.3.4"): "worklists.dimse.get_mpps",
}

# --- the registries -----------------------------------------------------------------------------------
# Called in the same transaction with the ids of the steps that changed (and `new` ones): keeps each step's encoded
# worklist answer.
STEP_PROJECTIONS: list[str] = ["worklists.services.steps.project"]
# Called by the sweep: finds due rows and rings their tasks again.
SWEEPS: list[str] = [
    "orchestrator.services.subscriptions.ring_due",
    "orchestrator.services.subscriptions.run_gathered",
    "orchestrator.services.jobs.ring_due",
    "orchestrator.services.exceptions.wake_snoozed",
    "orchestrator.services.presence.forget_old",
    "orchestrator.services.jobs.forget_old",
    "orchestrator.services.access_log.seal",
    "orchestrator.services.studies.close_due",
    "orchestrator.dimse.registrar.register_leftovers",
    "orchestrator.services.messages.ring_due",
    "routing.services.deliver.ring_due",
    "worklists.services.queries.forget_old",
]
# name -> function(viewer, study) -> list of facts for pages that show several apps.
FACT_SOURCES: dict[str, str] = {"deliveries": "routing.views.facts.study_facts"}
# list -> its ListPage (orchestrator.views.saved), for saved views.
LISTS: dict[str, str] = {
    "exceptions": "reconciliation.views.queue.LIST",
    "orders": "orchestrator.views.orders.LIST",
    "studies": "orchestrator.views.studies.LIST",
    "deliveries": "routing.views.deliveries.LIST",
    "messages": "orchestrator.views.interfaces.LIST",
}
# function(viewer, text, most) -> at most that many hits of each kind, for the search box and the command palette.
SEARCH_PROVIDERS: list[str] = [
    "orchestrator.views.hits.find",
    "reconciliation.views.hits.find",
    "routing.views.hits.find",
]
# kind -> function(viewer, ids) -> hits: what a person opened last, in the command palette.
RECENT: dict[str, str] = {
    "patient": "orchestrator.views.hits.patients",
    "order": "orchestrator.views.hits.orders",
    "study": "orchestrator.views.hits.studies",
    "case": "reconciliation.views.hits.recent",
    "destination": "routing.views.hits.destinations",
}
# function(viewer, since) -> log entries: what changed how things flow, for the control room.
CHANGES: list[str] = ["orchestrator.views.pulse.changes", "routing.views.changes.lately"]
# tables of Command (orchestrator.views.commands) for the palette.
COMMANDS: list[str] = ["orchestrator.views.commands.COMMANDS", "routing.views.hits.COMMANDS"]
# function(viewer, claim, procedure or None) -> what follows elsewhere when the claim is matched to the procedure's
# order, or (None) when its match is taken back, as `{icon, text}` each; nothing is written.
CONSEQUENCES: list[str] = ["routing.views.facts.consequences"]
# modules' tables {kind: CaseKind} merged into one.
CASE_KINDS: list[str] = ["orchestrator.states.CASE_KINDS"]
# section name -> Section for `manage.py config`; in this order, since later ones name what is in earlier ones.
CONFIG_SECTIONS: dict[str, str] = {
    "issuers": "orchestrator.services.configuration.ISSUERS",
    "sites": "orchestrator.services.configuration.SITES",
    "devices": "orchestrator.services.configuration.DEVICES",
    "application_entities": "orchestrator.services.configuration.APPLICATION_ENTITIES",
    "interfaces": "orchestrator.services.configuration.INTERFACES",
    "kpi_targets": "orchestrator.services.kpi_targets.KPI_TARGETS",
    "destinations": "routing.services.configuration.DESTINATIONS",
    "rule_sets": "routing.services.configuration.RULE_SETS",
}
# tables of Dated: the rows that `manage.py date_back` sets back with an exam; in this order, since later ones are
# found by earlier ones.
DATED_ROWS: list[str] = [
    "orchestrator.services.dated.DATED",
    "reconciliation.services.dated.DATED",
    "routing.services.dated.DATED",
    "worklists.services.dated.DATED",
]
# function(): makes anew what was reckoned from moments that were set back; called after the commit.
REBUILT_WHEN_DATED: list[str] = ["orchestrator.services.kpi_rollups.rebuild"]
# function() -> iterable of Measure, for /metrics.
METRIC_SOURCES: list[str] = ["orchestrator.services.metrics.ground", "routing.services.metrics.deliveries"]
# function() -> list of findings for `manage.py doctor`.
DOCTOR_CHECKS: list[str] = [
    "orchestrator.services.diagnostics.check_database",
    "orchestrator.services.diagnostics.check_broker",
    "orchestrator.services.diagnostics.check_disk",
    "orchestrator.services.diagnostics.check_spool",
    "orchestrator.services.diagnostics.check_ports",
    "orchestrator.services.diagnostics.check_clock",
    "orchestrator.services.diagnostics.check_exposure",
    "orchestrator.services.diagnostics.check_kpis",
    "orchestrator.services.diagnostics.check_names",
    "routing.services.diagnostics.check_destinations",
    "worklists.services.diagnostics.check_stations",
]
