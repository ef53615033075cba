"""The best variant of a model on this machine: where it runs (providers), at which precision (int8), and how fast."""
