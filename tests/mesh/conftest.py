"""The contract of `Mesh`, run against both meshes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from meshinfer.mesh.api import Mesh
from meshinfer.mesh.memory import MemoryNetwork
from tests.mesh.support import Join, identity, join_libp2p


@pytest.fixture(params=["memory", "libp2p"])
def join(request: pytest.FixtureRequest) -> Join:
    """The contract of `Mesh` holds for both."""
    if request.param == "libp2p":
        return join_libp2p
    network = MemoryNetwork()

    def join_memory(
        name: str, *, bootstrap: tuple[str, ...] = (), at: str | None = None
    ) -> AbstractAsyncContextManager[Mesh]:
        return network.mesh(identity(name), listen=(name,), bootstrap=bootstrap)

    return join_memory
