"""meshinfer: a mesh of equal peers that runs ONNX detectors where the footage lies."""

__version__ = "0.1.0"
