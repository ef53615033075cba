"""Models that anybody may use: where their published files lie, at a pinned commit, and what they must hash to.

Only permissive licences. Nothing here needs a sidecar: a file that was added by hand is the same model.
"""

from __future__ import annotations

from typing import NamedTuple

from meshinfer.model.ids import ModelDigest

_GITHUB = "https://raw.githubusercontent.com"


class WellKnown(NamedTuple):
    name: str
    version: str
    """Of the export: the first digits of the commit."""
    url: str
    sha256: ModelDigest
    size: int
    """Bytes."""
    licence: str
    what: str


WELL_KNOWN: tuple[WellKnown, ...] = (
    WellKnown(
        "yolox_nano",
        "3d4f111",
        f"{_GITHUB}/Kazuhito00/YOLOX-ONNX-TFLite-Sample/3d4f1119d069/model/yolox_nano.onnx",
        ModelDigest("695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14"),
        3_660_092,
        "Apache-2.0",
        "the 80 classes of COCO, 416x416: a good start",
    ),
    WellKnown(
        "fastestdet",
        "50473cd",
        f"{_GITHUB}/dog-qiuqiu/FastestDet/50473cd155cb/example/onnx-runtime/FastestDet.onnx",
        ModelDigest("31cb14c017fce347cb4c846ec62fdf00d76bb3beecdf4be21e7116ac67feb880"),
        998_169,
        "BSD-3-Clause",
        "the 80 classes of COCO, 352x352: for the smallest machines",
    ),
    WellKnown(
        "yunet",
        "0047ac2",
        f"{_GITHUB}/ShiqiYu/libfacedetection.train/0047ac24afb1/onnx/yunet_n_320_320.onnx",
        ModelDigest("81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2"),
        317_434,
        "Apache-2.0",
        "faces, 320x320",
    ),
)


def licence_of(sha256: ModelDigest) -> str:
    """The licence of a published file that does not say it itself; "" where it is none of these."""
    return next((known.licence for known in WELL_KNOWN if known.sha256 == sha256), "")
