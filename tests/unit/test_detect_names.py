"""Class names out of metadata, guessed names and their notices, and the sidecar."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshinfer.detect.names import COCO, name_classes, read_names
from meshinfer.detect.sidecar import Sidecar, read_sidecar
from meshinfer.errors import ModelError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'person', 1: 'car'}", ("person", "car")),
        ("{1: 'car', 0: 'person'}", ("person", "car")),
        ("['person', 'car']", ("person", "car")),
        ("{0: 'per\\x1b[31mson'}", ("per[31mson",)),
        ("{0: '" + "x" * 200 + "'}", ("x" * 64,)),
    ],
)
def test_names_are_read(text: str, names: tuple[str, ...]) -> None:
    assert read_names(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "{0: 'a', 2: 'b'}",
        "{'a': 0}",
        "{0: '\\n'}",
        "__import__('os').system('true')",
        "[" * 5000,
        "(" * 100_000,
        "'" + "x" * 300_000 + "'",
        "'person'",
        "12",
    ],
)
def test_anything_else_is_no_names(text: str) -> None:
    assert read_names(text) is None


def test_eighty_classes_without_names_are_coco_with_a_notice() -> None:
    names, notices = name_classes(None, 80)
    assert names == COCO
    assert len(set(COCO)) == 80
    assert (COCO[0], COCO[79]) == ("person", "toothbrush")
    assert "COCO" in notices[0]


def test_other_counts_are_numbered_with_a_notice() -> None:
    names, notices = name_classes(("a", "b"), 3)
    assert names == ("class0", "class1", "class2")
    assert ["names 2 classes but has 3" in notices[0], "sidecar" in notices[1]] == [True, True]
    assert name_classes(("a", "b"), 2) == (("a", "b"), ())


def test_a_sidecar_is_typed(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    assert read_sidecar(model) == Sidecar()
    (tmp_path / "m.toml").write_text(
        'layout = "yolox"\ncolour = "rgb"\nscale = 0.5\nmean = [1, 2, 3]\nfit = "stretch"\nnames = ["a"]\n'
    )
    sidecar = read_sidecar(model)
    assert (sidecar.layout, sidecar.colour, sidecar.mean, sidecar.names) == ("yolox", "rgb", (1.0, 2.0, 3.0), ("a",))


def test_the_documented_sidecar_is_one(tmp_path: Path) -> None:
    """Every key there is, with values that are taken; `series` has a page of its own."""
    page = (Path(__file__).parents[2] / "docs" / "MODELS.md").read_text(encoding="utf-8")
    example = page.split("## The sidecar")[1].split("```toml\n")[1].split("```")[0]
    (tmp_path / "m.toml").write_text(example, encoding="utf-8")
    sidecar = read_sidecar(tmp_path / "m.onnx")
    assert [key for key in Sidecar.__struct_fields__ if f"\n{key} = " not in f"\n{example}"] == ["series"]
    assert sidecar.anchors == (((10, 13), (16, 30)), ((30, 61),), ((116, 90),))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('colr = "rgb"', "m.toml: .*colr.*; it may hold: layout, width, .*colour"),
        ('colour = "red"', r"m.toml: .*'red'.*\$\.colour"),
        ("mean = [1, 2]", r"m.toml: .*\$\.mean"),
        ("std = [1, 0, 1]", r"m.toml: .*\$\.std\[1\]"),
        ("layout = ", "m.toml: no TOML"),
        ("\udcff", "m.toml: no TOML"),
    ],
)
def test_a_wrong_sidecar_names_its_key(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "m.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=says):
        read_sidecar(tmp_path / "m.onnx")
