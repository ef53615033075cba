"""Pictures for people: boxes with label chips on a frame, and a sheet of such frames.

Images are BGR uint8 arrays of shape (height, width, 3). Sizes scale with the frame, so that a chip reads as well at
640x360 as at 1080p.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.model.detection import Detection

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (66, 133, 255),  # orange
    (245, 160, 60),  # azure
    (90, 200, 110),  # green
    (120, 90, 250),  # coral
    (235, 110, 190),  # violet
    (60, 215, 240),  # yellow
    (200, 205, 70),  # turquoise
    (170, 120, 240),  # pink
    (80, 170, 180),  # olive
    (220, 130, 120),  # slate
)
"""BGR, of like brightness: dark text reads on all of them."""

_USUAL = ("person", "car", "truck", "bus", "bicycle", "dog", "motorcycle", "cat", "boat", "bird")
"""Labels that are often seen together: one colour of the palette each."""

_AS = {"vehicle": "car", "bike": "bicycle", "motorbike": "motorcycle"}
"""Other words for the same."""

_STACKED = 8
"""Chips of one box in a row, in each direction."""

_FONT = cv2.FONT_HERSHEY_DUPLEX
_INK: Colour = (24, 22, 20)
_PAPER: Colour = (34, 30, 28)
_TEXT: Colour = (235, 232, 228)
_MUTED: Colour = (165, 158, 152)


def colour_of(label: str) -> Colour:
    """The same label has the same colour in every frame, on every peer."""
    label = _AS.get(label, label)
    if label in _USUAL:
        return PALETTE[_USUAL.index(label)]
    return PALETTE[hashlib.sha256(label.encode()).digest()[0] % len(PALETTE)]


def annotate(image: Image, detections: Sequence[Detection]) -> Image:
    """A copy of `image` with a box and a chip (`person 0.91`) for each detection, the surest on top.

    Boxes are x0, y0, x1, y1 in pixels of `image`; what lies outside is clipped.
    """
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    line = max(2, round(height / 300))
    ordered = sorted(detections, key=lambda d: d.score)
    for d in ordered:
        x0, y0, x1, y1 = _pixels(d, width, height)
        _frame(drawn, x0, y0, x1, y1, colour_of(d.label), line)
    taken: list[tuple[int, int, int, int]] = []
    for d in reversed(ordered):  # the surest chooses its place first
        _chip(drawn, d, _pixels(d, width, height), taken, line)
    return drawn


def contact_sheet(
    tiles: Sequence[tuple[Image, str]], *, title: str = "meshinfer", columns: int = 3, width: int = 1500
) -> Image:
    """One picture of all `tiles` (image, caption), `width` pixels wide, under a bar with `title`.

    Every cell has the shape of the first tile; others are fitted into it. Chips stay readable where
    frames are annotated at about the size of a cell (width / columns). Raises ValueError for no tiles.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one picture")
    columns = max(1, min(columns, len(tiles)))
    gap, bar, foot = max(8, width // 100), max(44, width // 24), max(26, width // 46)
    cell = (width - gap * (columns + 1)) // columns
    height = max(1, round(cell * tiles[0][0].shape[0] / tiles[0][0].shape[1]))
    rows = -(-len(tiles) // columns)
    sheet: Image = np.full((bar + rows * (height + foot + gap) + gap, width, 3), _PAPER, np.uint8)
    _text(sheet, title, gap + 2, bar // 2 + gap // 2, bar * 0.36, _TEXT, width - 2 * gap)
    for i, (image, caption) in enumerate(tiles):
        x, y = gap + i % columns * (cell + gap), bar + gap + i // columns * (height + foot + gap)
        fitted = _fitted(image, cell, height)
        top, left = y + (height - fitted.shape[0]) // 2, x + (cell - fitted.shape[1]) // 2
        sheet[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
        _text(sheet, caption, x + 2, y + height + foot // 2 + 1, foot * 0.46, _MUTED, cell - 4)
    return sheet


def _pixels(d: Detection, width: int, height: int) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = np.nan_to_num(np.asarray(d.box, float), posinf=65536, neginf=-65536)
    return (
        int(np.clip(round(x0), 0, width - 1)),
        int(np.clip(round(y0), 0, height - 1)),
        int(np.clip(round(x1), 0, width - 1)),
        int(np.clip(round(y1), 0, height - 1)),
    )


def _frame(image: Image, x0: int, y0: int, x1: int, y1: int, colour: Colour, line: int) -> None:
    """A thin box with strong corners over a faint fill: it shows what is inside."""
    inside = image[y0 : y1 + 1, x0 : x1 + 1]
    if inside.size:
        inside[:] = cv2.addWeighted(inside, 0.88, np.full_like(inside, colour), 0.12, 0)
    cv2.rectangle(image, (x0, y0), (x1, y1), _INK, line + 2, cv2.LINE_AA)
    cv2.rectangle(image, (x0, y0), (x1, y1), colour, line, cv2.LINE_AA)
    arm = max(4, min(x1 - x0, y1 - y0) // 5)
    for x, y, dx, dy in ((x0, y0, arm, arm), (x1, y0, -arm, arm), (x0, y1, arm, -arm), (x1, y1, -arm, -arm)):
        cv2.line(image, (x, y), (x + dx, y), colour, line * 2, cv2.LINE_AA)
        cv2.line(image, (x, y), (x, y + dy), colour, line * 2, cv2.LINE_AA)


def _chip(
    image: Image, d: Detection, box: tuple[int, int, int, int], taken: list[tuple[int, int, int, int]], line: int
) -> None:
    """Above the box, else inside its top, else below, else further on from there: wherever it covers no other chip and
    stays in the frame. A classifier's word on a detection has the very box of it.
    """
    height, width = image.shape[:2]
    size = max(11.0, height / 38)
    text = f"{_ascii(d.label)} {d.score:.2f}"
    scale, wide, tall = _measured(text, size)
    pad = max(3, round(size / 4))
    w, h = wide + 2 * pad, tall + 2 * pad
    x = int(np.clip(box[0] - line // 2, 0, max(0, width - w)))
    further = [y for k in range(1, _STACKED) for y in (box[1] - (k + 1) * h, box[1] + k * h, box[3] + k * h)]
    wanted = (box[1] - h, box[1], box[3], box[3] - h, *further)
    places = [y for y in wanted if 0 <= y <= height - h] or [max(0, height - h)]
    y = next((y for y in places if not any(_overlap((x, y, x + w, y + h), other) for other in taken)), places[0])
    taken.append((x, y, x + w, y + h))
    cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), colour_of(d.label), cv2.FILLED)
    thick = 2 if size > 34 else 1
    cv2.putText(image, text, (x + pad, y + h - pad - 1), _FONT, scale, _INK, thick, cv2.LINE_AA)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _measured(text: str, size: float) -> tuple[float, int, int]:
    """The scale at which a capital letter is about `size` * 0.8 pixels high, and the text's width and height."""
    scale = size / 27.0
    (wide, tall), _ = cv2.getTextSize(text, _FONT, scale, 1)
    return scale, int(wide), int(tall)


def _text(image: Image, text: str, x: int, middle: int, size: float, colour: Colour, room: int) -> None:
    text = _ascii(text)
    scale, wide, tall = _measured(text, size)
    while wide > room and len(text) > 4:
        text = text.rstrip(".")[:-1] + "..." if not text.endswith("...") else text[:-4] + "..."
        scale, wide, tall = _measured(text, size)
    cv2.putText(image, text, (x, middle + tall // 2), _FONT, scale, colour, 1, cv2.LINE_AA)


def _fitted(image: Image, width: int, height: int) -> Image:
    scale = min(width / image.shape[1], height / image.shape[0])
    to = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, to, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)


def _ascii(text: str) -> str:
    """OpenCV's fonts know ASCII alone."""
    return "".join(c if " " <= c <= "~" else "?" for c in text.replace("…", "...").replace("·", "-").replace("×", "x"))
