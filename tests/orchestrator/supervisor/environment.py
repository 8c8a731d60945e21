"""The environment of a Fiducial that shares nothing with any other on this machine."""

import os
from pathlib import Path

from tests.peers import free_port

ROOT = Path(__file__).parents[3]


def isolated(folder: Path, **settings: str) -> dict[str, str]:
    """Its data in `folder`, its ports free ones, the embedded defaults; `settings` override."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FIDUCIAL_", "COV_"))}
    return {
        **kept,
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "FIDUCIAL_DATA_DIR": str(folder),
        "FIDUCIAL_HTTP_PORT": str(free_port()),
        "FIDUCIAL_DICOM_PORT": str(free_port()),
        "FIDUCIAL_HL7_PORT": str(free_port()),
        **settings,
    }
