"""People: a walking skeleton of joints in the world, drawn as tapered limbs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from meshinfer.demo.camera import Camera, Floats
from meshinfer.demo.motion import Pose
from meshinfer.demo.paint import SHIFT, Colour, Image, disc, fixed, polygon

SKIN: tuple[Colour, ...] = ((130, 165, 215), (105, 140, 195), (70, 100, 155), (45, 60, 100))
HAIR: tuple[Colour, ...] = ((25, 30, 35), (30, 50, 80), (60, 100, 150), (110, 115, 120))
HELMET: tuple[Colour, ...] = ((40, 200, 240), (235, 235, 235), (30, 110, 240))
VEST: tuple[Colour, ...] = ((30, 225, 235), (20, 120, 250))
SHIRT: tuple[Colour, ...] = ((150, 70, 40), (60, 50, 180), (70, 120, 50), (210, 210, 215), (60, 60, 66), (160, 110, 60))
TROUSERS: tuple[Colour, ...] = ((70, 45, 30), (45, 45, 48), (60, 75, 95), (95, 75, 60))
SHOE: Colour = (28, 28, 32)
REFLECTIVE: Colour = (225, 230, 230)

LIMBS = ((0, 1, 0.12, 0.10), (1, 2, 0.10, 0.08), (3, 4, 0.19, 0.145), (4, 5, 0.145, 0.10), (7, 6, 0.10, 0.08))
"""Per side: from joint, to joint, thickness in metres at both: upper arm, forearm, thigh, shin, shoe."""
_BOTH = np.array([(base + start, base + end, *thick) for base in (2, 10) for start, end, *thick in LIMBS])
LIMB_STARTS, LIMB_ENDS, LIMB_THICK = _BOTH[:, 0].astype(int), _BOTH[:, 1].astype(int), _BOTH[:, 2:]


@dataclass(frozen=True, slots=True)
class Person:
    """How one person looks; `height` in metres."""

    height: float
    build: float
    skin: Colour
    hair: Colour
    helmet: Colour | None
    shirt: Colour
    vest: bool
    trousers: Colour
    phase: float

    @classmethod
    def any(cls, rng: np.random.Generator) -> Person:
        """Somebody of the yard: many wear a vest, some a helmet."""

        def one(colours: tuple[Colour, ...]) -> Colour:
            return colours[int(rng.integers(len(colours)))]

        vest = bool(rng.random() < 0.5)
        return cls(
            height=float(rng.uniform(1.62, 1.92)),
            build=float(rng.uniform(0.92, 1.15)),
            skin=one(SKIN),
            hair=one(HAIR),
            helmet=one(HELMET) if rng.random() < (0.6 if vest else 0.1) else None,
            shirt=one(VEST) if vest else one(SHIRT),
            vest=vest,
            trousers=one(TROUSERS),
            phase=float(rng.uniform(0, 6.28)),
        )

    def joints(self, pose: Pose) -> Floats:
        """18 joints [18, 3] in the world: head, neck; per side shoulder, elbow, hand, hip, knee, ankle, toe, heel."""
        tall, wide = self.height, self.height * 0.115 * self.build
        pace = min(1.0, pose.speed / 1.1)
        swing = np.sin(pose.travelled * 4.2 + self.phase)
        lift = np.cos(pose.travelled * 4.2 + self.phase)
        rows: list[tuple[float, float, float]] = [(0.012, 0.0, 0.925), (0.005, 0.0, 0.835)]
        for side in (1.0, -1.0):
            step, raised = side * swing * pace, max(0.0, side * lift) * pace
            rows += [
                (0.0, side * wide, 0.81 * tall),
                (-0.10 * step * tall * 0.8 - 0.01, side * wide * 1.2, 0.64 * tall),
                (-0.17 * step * tall * 0.8 + 0.05, side * wide * 1.12, 0.49 * tall + 0.02 * abs(step)),
                (0.0, side * wide * 0.55, 0.51 * tall),
                (0.10 * step * tall + 0.05 * raised, side * wide * 0.55, 0.275 * tall + 0.02 * raised),
                (0.17 * step * tall - 0.05 * raised, side * wide * 0.55, 0.045 * tall + 0.07 * raised),
                (0.17 * step * tall - 0.05 * raised + 0.14, side * wide * 0.6, 0.03 * tall + 0.05 * raised),
                (0.17 * step * tall - 0.05 * raised - 0.04, side * wide * 0.55, 0.01 * tall + 0.07 * raised),
            ]
        local = np.array(rows)
        local[:2, 2] *= tall
        cos, sin = np.cos(pose.heading), np.sin(pose.heading)
        return np.column_stack(
            [
                pose.x + local[:, 0] * cos - local[:, 1] * sin,
                pose.y + local[:, 0] * sin + local[:, 1] * cos,
                local[:, 2],
            ]
        )

    def draw(self, canvas: Image, ids: Image, number: int, camera: Camera, pose: Pose, gain: Floats) -> Floats | None:
        """Draw onto `canvas` and the id mask `ids`; the silhouette's extent (x0, y0, x1, y1), None if unseen."""
        joints, depth = camera.project(self.joints(pose))
        if depth.min() < 2.0:
            return None
        metre = float(np.linalg.norm(camera.matrix[0, :3]) / depth[0]) * 0.9
        width, height = camera.size
        low, high = joints.min(axis=0) - 0.2 * metre, joints.max(axis=0) + 0.2 * metre
        if high[0] < 0 or high[1] < 0 or low[0] > width or low[1] > height:
            return None
        quads = _limbs(joints, metre * self.build)
        torso, bands = self._torso(joints, metre)
        face, cap = (0.098 * metre, 0.125 * metre), (0.112 * metre, 0.115 * metre)
        sleeve = self.shirt if not self.vest else self.trousers
        hand = self.skin if self.vest else sleeve
        far, near = (0, 5) if depth[2] > depth[10] else (5, 0)

        def limbs(side: int, rows: range, colours: tuple[Colour, ...], shade: float) -> None:
            for row, colour in zip(rows, colours, strict=True):
                polygon(canvas, quads[side + row], np.array(colour) * gain * shade)

        leg = (self.trousers, self.trousers, SHOE)
        limbs(far, range(2), (sleeve, hand), 0.78)
        limbs(far, range(2, 5), leg, 0.78)
        limbs(near, range(2, 5), leg, 1.0)
        polygon(canvas, torso, np.array(self.shirt) * gain * (1.15 if self.vest else 1.0))
        for band in bands if self.vest else ():
            polygon(canvas, band, np.array(REFLECTIVE) * np.minimum(1.0, gain * 1.5))
        limbs(near, range(2), (sleeve, hand), 0.9)
        disc(canvas, joints[0], face, np.array(self.skin) * gain)
        crown = joints[0] - [0.0, 0.025 * metre]
        disc(canvas, crown, cap, np.array(self.helmet or self.hair) * gain, upper=True)
        head = joints[0] + np.array([[-0.112, -0.025], [0.0, -0.14], [0.112, -0.025], [0.0, 0.125]]) * metre
        for part in (*quads, torso, head):
            cv2.fillConvexPoly(ids, fixed(part), number, cv2.LINE_8, SHIFT)
        points = np.concatenate([*quads, torso, head])
        return np.concatenate([points.min(axis=0), points.max(axis=0)])

    def _torso(self, joints: Floats, metre: float) -> tuple[Floats, list[Floats]]:
        """The outline of the torso [6, 2] in pixels, and the two bands of a vest."""
        shoulders, hips = joints[[2, 10]], joints[[5, 13]]
        pad, lower = np.array([0.095 * metre * self.build, 0.0]), np.array([0.0, 0.05 * metre])
        neck = np.array([0.05 * metre, 0.0])
        left, right = (0, 1) if shoulders[0, 0] < shoulders[1, 0] else (1, 0)
        torso = np.stack(
            [
                joints[1] - neck,
                shoulders[left] - pad * 0.8,
                hips[left] - pad + lower,
                hips[right] + pad + lower,
                shoulders[right] + pad * 0.8,
                joints[1] + neck,
            ]
        )
        bands = []
        for share in (0.45, 0.72):
            top = np.stack([torso[1] + (torso[2] - torso[1]) * share, torso[4] + (torso[3] - torso[4]) * share])
            bands.append(np.concatenate([top, top[::-1] + np.array([0.0, 0.055 * metre])]))
        return torso, bands


def _limbs(joints: Floats, metre: float) -> Floats:
    """The tapered outlines [10, 4, 2] of `LIMBS` on both sides, in pixels."""
    starts, ends, thick = joints[LIMB_STARTS], joints[LIMB_ENDS], LIMB_THICK * metre / 2
    along = ends - starts
    across = np.column_stack([-along[:, 1], along[:, 0]])
    across /= np.maximum(1e-3, np.hypot(along[:, 0], along[:, 1]))[:, None]
    first, last = across * thick[:, :1], across * thick[:, 1:]
    return np.stack([starts + first, ends + last, ends - last, starts - first], axis=1)
