"""meshinfer: a mesh of equal peers that runs ONNX detectors where the footage lies.

Detector    a model in this process: pictures in, detections out
Peer        a member of the mesh: publishes jobs, hears events
Job         what to run over which footage
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshinfer.api.detector import Detector as Detector
    from meshinfer.api.job import Job as Job
    from meshinfer.api.peer import Peer as Peer

__all__ = ["Detector", "Job", "Peer"]
__version__ = "0.1.0"

# Read once, when cv2 is first imported, wherever that is: an image that claims more pixels is refused undecoded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))


def __getattr__(name: str) -> Any:
    """Imported when first asked for: the command line's --help must not wait for a runtime."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"meshinfer.api.{name.lower()}"), name)
