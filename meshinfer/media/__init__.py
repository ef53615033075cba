"""Frames out of what lies here: video files and image folders."""
