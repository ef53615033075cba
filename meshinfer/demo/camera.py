"""A pinhole camera over a flat yard.

World axes, metres: X to the right, Y away from the camera, Z up. The ground is Z = 0; the camera is over the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Camera:
    """A fixed view: `matrix` [3, 4] takes homogeneous world points to homogeneous pixels; row 2 is the depth."""

    matrix: Floats
    size: tuple[int, int]
    position: Floats

    @classmethod
    def over_yard(cls, size: tuple[int, int], *, height: float, pitch: float, yaw: float, fov: float) -> Camera:
        """A camera `height` metres up; `pitch` down, `yaw` to the right and horizontal `fov` in degrees."""
        theta, psi = np.radians([pitch, yaw])
        right = np.array([np.cos(psi), -np.sin(psi), 0.0])
        forward = np.array([np.sin(psi) * np.cos(theta), np.cos(psi) * np.cos(theta), -np.sin(theta)])
        rotation = np.stack([right, -np.cross(right, forward), forward])
        width, tall = size
        focal = width / 2 / np.tan(np.radians(fov) / 2)
        intrinsic = np.array([[focal, 0.0, width / 2], [0.0, focal, tall / 2], [0.0, 0.0, 1.0]])
        position = np.array([0.0, 0.0, height])
        return cls(intrinsic @ np.column_stack([rotation, -rotation @ position]), size, position)

    def scaled(self, factor: int) -> Camera:
        """The same view on a canvas `factor` times as large, for supersampling."""
        return Camera(
            np.diag([factor, factor, 1.0]) @ self.matrix, (self.size[0] * factor, self.size[1] * factor), self.position
        )

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Pixels [N, 2] and depths [N] of world `points` [N, 3]; pixels are sound only where the depth is positive."""
        rays = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        depth = rays[:, 2]
        return rays[:, :2] / np.where(np.abs(depth) < 1e-6, 1e-6, depth)[:, None], depth

    def plane(self, origin: Floats, across: Floats, down: Floats) -> Floats:
        """The homography [3, 3] from a picture lying in the world to pixels.

        `origin` is where the picture's pixel (0, 0) lies; `across` and `down` are the steps of one of its pixels.
        """
        columns = np.zeros((4, 3))
        columns[:3, 0], columns[:3, 1], columns[:3, 2], columns[3, 2] = across, down, origin, 1.0
        return self.matrix @ columns

    @property
    def horizon(self) -> float:
        """The image row of the horizon."""
        rows = self.matrix[:, :3]
        # The horizon is the image of every direction with Z = 0: take the one straight ahead.
        ahead = np.cross(rows[0] - rows[2] * self.size[0] / 2, [0.0, 0.0, 1.0])
        pixel = rows @ (ahead if rows[2] @ ahead > 0 else -ahead)
        return float(pixel[1] / pixel[2])
