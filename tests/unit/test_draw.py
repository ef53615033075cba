"""Pictures for people: what is drawn is where it should be, at every size."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from meshinfer.media import draw
from meshinfer.media.draw import PALETTE, Image, annotate, colour_of, contact_sheet
from meshinfer.model.detection import Detection


def grey(width: int, height: int) -> Image:
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1920, 1080), (64, 48), (3, 2)])
def test_a_box_in_its_colour_and_a_copy(width: int, height: int) -> None:
    image = grey(width, height)
    box = (width * 0.25, height * 0.4, width * 0.75, height * 0.9)
    drawn = annotate(image, [Detection("person", 0.91, box)])
    assert (image == 128).all(), "the frame itself is left alone"
    assert drawn.shape == image.shape
    x, y = round(width * 0.5), round(height * 0.9)
    if width > 3:
        assert tuple(drawn[y, x]) == colour_of("person")
        assert (drawn[0, width - 1] == 128).all(), "nothing far from the box"


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 5000, 5000),
        (600, 300, 500, 200),
        (0, 0, 0, 0),
        (float("nan"), 0, float("inf"), 10),
        (-9e9, 1, 9e9, 2),
    ],
)
def test_boxes_that_lie_anywhere(box: tuple[float, float, float, float]) -> None:
    drawn = annotate(grey(640, 360), [Detection("ünïcode\x1b", 1.0, box)])
    assert drawn.shape == (360, 640, 3)


def test_chips_do_not_cover_each_other() -> None:
    near = [Detection("person", 0.9, (100, 100, 200, 300)), Detection("car", 0.8, (105, 102, 200, 300))]
    drawn = annotate(grey(640, 360), near)
    ink = (drawn.astype(int).sum(axis=2) < 120).any(axis=1)  # rows with text on a chip
    assert ink[80:100].any(), "the surer one above its box"
    assert ink[103:118].any(), "the other inside its own"


@pytest.mark.parametrize("box", [(300, 150, 330, 170), (0, 0, 640, 360), (600, 0, 640, 20), (10, 340, 90, 359)])
def test_what_two_models_say_of_one_box_is_all_readable(box: tuple[float, float, float, float]) -> None:
    said = [Detection("person", 0.9, box), *(Detection(f"{word}-helmet", 0.8, box) for word in ("no", "a", "red"))]
    taken: list[tuple[int, int, int, int]] = []
    image = grey(640, 360)
    for d in said:
        draw._chip(image, d, tuple(map(round, box)), taken, 2)  # type: ignore[arg-type]  # four of them
    assert len(taken) == 4
    assert all(x0 >= 0 and y0 >= 0 and x1 <= 640 and y1 <= 360 for x0, y0, x1, y1 in taken)
    assert not any(draw._overlap(a, b) for a, b in combinations(taken, 2))


def test_colours_are_stable_and_from_the_palette() -> None:
    assert colour_of("person") != colour_of("car")
    assert colour_of("forklift") == colour_of("forklift")
    assert {colour_of(f"label {i}") for i in range(100)} <= set(PALETTE)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 3, 2), (7, 3, 3)])
def test_a_sheet_holds_every_tile(count: int, columns: int, rows: int) -> None:
    tiles = [(np.full((90, 160, 3), 40 + 20 * i, np.uint8), f"tile {i}") for i in range(count)]
    sheet = contact_sheet(tiles, title="a mesh of three", columns=3, width=900)
    assert sheet.shape[1] == 900
    cell = 900 // columns
    assert cell * 90 / 160 * rows * 0.8 < sheet.shape[0] < cell * rows
    for i in range(count):
        assert (sheet == 40 + 20 * i).all(axis=2).sum() > 0.5 * (cell * 0.9) ** 2 * 90 / 160


def test_tiles_of_other_shapes_are_fitted() -> None:
    sheet = contact_sheet([(grey(160, 90), "wide"), (grey(50, 400), "x" * 500), (grey(1, 1), "")], width=600)
    assert sheet.shape[1] == 600
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
