"""What `from meshinfer import ...` gives: detectors, peers and jobs for programs (docs/PYTHON.md)."""
