"""What a model calls its classes: names in metadata, the 80 of COCO, or numbers."""

from __future__ import annotations

import ast

MAX_NAME = 64
MAX_CLASSES = 10_000
_MAX_LITERAL = 256 * 1024

# fmt: off
COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 classes of COCO detection, in the order every public detector trained on it uses."""

_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Numbers of COCO's categories, 1 to 90, that no picture has."""
COCO_NUMBERS = tuple(
    f"unused{number}" if number in _UNUSED else COCO[number - 1 - sum(u < number for u in _UNUSED)]
    for number in range(1, 91)
)
"""COCO by its category numbers, from 1: how TensorFlow, torchvision and DETR count."""

_WELL_KNOWN = {
    80: (COCO, "taken for the 80 of COCO, in their usual order"),
    90: (COCO_NUMBERS, "taken for COCO's category numbers 1 to 90"),
    91: (("unused0", *COCO_NUMBERS), "taken for COCO's category numbers 0 to 90"),
}


def read_names(text: str) -> tuple[str, ...] | None:
    """Names out of Ultralytics metadata, `{0: 'person', ...}` or `['person', ...]`; None for anything else.

    The text is a Python literal and is read as one (`ast.literal_eval`): what comes with a model is never evaluated.
    """
    if len(text) > _MAX_LITERAL:
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if isinstance(value, dict):
        if not value or set(value) != set(range(len(value))):
            return None
        value = [value[i] for i in range(len(value))]
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_CLASSES:
        return None
    names = tuple(clean(str(name)) for name in value)
    return names if all(names) else None


def clean(name: str) -> str:
    """Fit to be printed to a terminal and put on the wire: one line, printable, at most MAX_NAME characters."""
    return "".join(c for c in name if c.isprintable())[:MAX_NAME].strip()


def name_classes(
    given: tuple[str, ...] | None, count: int, usual: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of `count` classes, and notices for the user about names that were guessed.

    `usual`: what models of this layout call them.
    """
    if given is not None and len(given) == count:
        return given, ()
    notices = [f"names {len(given)} classes but has {count}: its names are ignored"] if given is not None else []
    if len(usual) == count:
        return usual, tuple(notices)
    if count in _WELL_KNOWN:
        names, how = _WELL_KNOWN[count]
        return names, (*notices, f"has no class names but {count} classes: {how}")
    numbered = tuple(f"class{i}" for i in range(count))
    return numbered, (*notices, f"has no class names: called class0 to class{count - 1}; write `names` in its sidecar")
