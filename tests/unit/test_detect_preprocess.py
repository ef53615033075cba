"""Frames into tensors: equal to the plain way, and boxes find their way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshinfer.detect.preprocess import PADDING, Canvas, Recipe, place

RANDOM = np.random.default_rng(7)


@settings(deadline=None)
@given(st.sampled_from(["letterbox", "stretch", "top-left"]), st.integers(1, 4000), st.integers(1, 4000))
def test_a_box_finds_its_way_back(fit: str, width: int, height: int) -> None:
    p = place(fit, width, height, 320, 192)  # type: ignore[arg-type]  # a Fit, drawn
    assert 0 <= p.left <= p.left + p.inner_width <= 320
    assert 0 <= p.top <= p.top + p.inner_height <= 192
    frame_box = np.array([[0.25 * width, 0.5 * height, 0.75 * width, height]])
    input_box = frame_box * (p.scale_x, p.scale_y, p.scale_x, p.scale_y) + (p.left, p.top, p.left, p.top)
    assert np.allclose(p.to_frame(input_box), frame_box, atol=0.006)


def test_boxes_are_clipped_to_the_frame() -> None:
    p = place("letterbox", 100, 50, 200, 200)
    assert p.to_frame(np.array([[-10.0, -10.0, 900.0, 900.0]])).tolist() == [[0, 0, 100, 50]]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(colour="bgr", scale=1.0, fit="top-left"),
        Recipe(colour="bgr", fit="stretch"),
        Recipe(colour="bgr", scale=1.0, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
    ],
)
def test_the_tensor_is_that_of_the_plain_way(recipe: Recipe) -> None:
    canvas = Canvas(64, 48, recipe)
    for height, width in ((90, 200), (90, 200), (200, 90), (48, 64)):  # the size changes, and changes back
        image = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
        p = canvas.draw(image)
        plain = np.full((48, 64, 3), PADDING, np.uint8)
        inner = cv2.resize(image, (p.inner_width, p.inner_height), interpolation=cv2.INTER_LINEAR)
        plain[p.top : p.top + p.inner_height, p.left : p.left + p.inner_width] = inner
        if recipe.colour == "rgb":
            plain = plain[:, :, ::-1]
        expected = (plain.astype(np.float64) * recipe.scale - recipe.mean) / recipe.std
        assert np.allclose(canvas.blob[0], expected.transpose(2, 0, 1), atol=2e-5 * max(1, 255 * recipe.scale))


def test_half_precision() -> None:
    canvas = Canvas(32, 32, Recipe(), np.float16)
    canvas.draw(np.full((32, 32, 3), 255, np.uint8))
    assert canvas.blob.dtype == np.float16
    assert float(canvas.blob.max()) == 1.0
