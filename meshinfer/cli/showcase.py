"""The demo's course: footage, three peers, one job, what it found, and whether all of it went as it should."""

from __future__ import annotations

import itertools
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from meshinfer.cli.client import ask, call
from meshinfer.cli.export import Export
from meshinfer.cli.output import Output, count, size, span
from meshinfer.cli.showcase_footage import Size, cache_folder, draw, site_folders, videos
from meshinfer.cli.showcase_peers import Crew, Peer
from meshinfer.cli.showcase_reckoning import Facts, Frame, Reckoning, Site, reckon
from meshinfer.cli.showcase_report import explain, jpeg_of, show_files, show_next, show_table, write_sheet
from meshinfer.cli.showcase_screen import JobScreen, Screen
from meshinfer.cli.spool import Row, read_row
from meshinfer.demo import read_truth, truth_path
from meshinfer.errors import ConfigError, MeshInferError
from meshinfer.host import cores

SITES = {"hamburg": 1, "rotterdam": 2}
"""Peers that hold footage, and the seed of it."""

OFFICE = "office"
FULL, FAST = Size(clips=4, seconds=20.0), Size(clips=2, seconds=12.0)
SPEC = {"name": "yard", "model": "yard-demo", "on": {"kind": "video"}, "detect": {"min_score": 0.4}}
WORK_PATIENCE = 180.0
LIVE_PATIENCE = 5.0
"""Seconds after the job's end in which the last detections must have reached the subscriber."""

PICTURES = 4
"""Annotated frames asked of each peer."""
