"""The composition root: what is decided in `schedule` and carried by `mesh` becomes work on this machine."""
