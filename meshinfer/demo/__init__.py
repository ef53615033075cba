"""The drawn world of the demo and the tests: yards with people and vehicles, rendered to video with exact truth.

`yard-demo.onnx` beside this file finds what is drawn here. It is for the demo and the tests only.
"""

from meshinfer.demo.evaluate import Found, Score, score
from meshinfer.demo.render import footage, render_video, truth_path
from meshinfer.demo.truth import Truth, read_truth
from meshinfer.demo.world import Scene

__all__ = ["Found", "Scene", "Score", "Truth", "footage", "read_truth", "render_video", "score", "truth_path"]
