"""Frames out of what lies here: sources, the catalog of what is in them, decoding, sampling, and drawing on them."""
