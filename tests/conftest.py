"""Fixtures shared by every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Examples are the same every time: a failure is a failure for everyone, and no busy machine makes one.
settings.register_profile("meshinfer", derandomize=True, deadline=None, database=None)
settings.load_profile("meshinfer")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def assets() -> Path:
    """Real models, footage and labelled images; `MESHINFER_ASSETS` says where (default: ../shared/assets)."""
    folder = Path(os.environ.get("MESHINFER_ASSETS", ROOT.parent / "shared" / "assets"))
    if not folder.is_dir():
        # They are not ours to ship: without them a checkout still runs every other test, and says what it left out.
        pytest.skip(f"no test assets at {folder}: set MESHINFER_ASSETS to a folder with models/, media/ and coco/")
    return folder
