"""Frames to detections: a model file becomes a `Detector` whose layout is told from the file itself."""
