"""Frames out of what lies here: sources, the catalog of what is in them, decoding, sampling, and drawing on them."""

import os

# Read once, when cv2 is first imported: an image that claims more pixels is refused before it is decoded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))
