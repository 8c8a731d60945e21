"""`python -m tests.orchestrator.job_worker FOLDER JOB`: a worker for one job (0: a new one), which a test may kill.

The job writes a line to FOLDER/done per item, and waits at each item for a line in FOLDER/gate.
"""

import sys
import time
from pathlib import Path
from typing import Any

import django
from django.conf import settings

django.setup()

from orchestrator.models import Job, User  # noqa: E402  after setup
from orchestrator.permissions import Viewer  # noqa: E402
from orchestrator.services import bulk, jobs, leases  # noqa: E402

ITEMS = [1, 2, 3]


def count(job: Job) -> dict[str, Any]:
    """Three items, each when the test lets it."""
    folder = Path(job.parameters["folder"])

    def do(_viewer: Viewer, _user: User, item: int, _seen: str) -> None:
        while not (folder / f"gate{item}").exists():
            time.sleep(0.01)
        with (folder / "done").open("a") as file:
            file.write(f"{item}\n")

    return bulk.run(job, do)


def main(folder: str, number: str) -> None:
    # The test does not wait long for a killed worker's lease.
    settings.LEASE_SECONDS = 1.0
    if number == "0":
        owner = User.objects.create_user("owner")
        job = bulk.start(
            "tests.orchestrator.job_worker.count", title="Count", owner=owner, rows=[(item, "") for item in ITEMS],
            parameters={"folder": folder},
        )  # fmt: skip
    else:
        job = Job.objects.get(pk=number)
    print(job.pk, flush=True)
    while not leases.due(Job.objects.filter(pk=job.pk)).exists():
        time.sleep(0.05)
    jobs.run_job(job.pk)


if __name__ == "__main__":
    main(*sys.argv[1:])
