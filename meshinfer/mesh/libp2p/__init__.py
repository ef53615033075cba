"""The real network, over py-libp2p 0.8.1. The only package that imports libp2p (docs/adr/0002)."""

from meshinfer.mesh.libp2p.mesh import Libp2pMesh, open_mesh

__all__ = ["Libp2pMesh", "open_mesh"]
