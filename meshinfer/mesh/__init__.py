"""Peers exchanging bytes: the `Mesh` protocol, the libp2p mesh, and one in memory for tests."""
