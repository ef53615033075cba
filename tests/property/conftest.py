"""Property tests draw the same examples every time: a failure is a failure for everyone."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("meshinfer", derandomize=True, deadline=None, database=None)
settings.load_profile("meshinfer")
