"""Every exception meshinfer raises on purpose.

    MeshInferError                  exit 1
    ├── ConfigError                 exit 2   a flag, a file or a value the user gave is wrong
    ├── ProtocolError               a peer broke the rules: drop what it sent, count it, go on
    │   ├── DecodeError             bytes that are no valid message
    │   ├── UnsupportedVersion      a message from a newer protocol
    │   └── MessageTooBig           a message or a field over its limit
    ├── MeshError                   the network could not do what was asked (listen, dial, stream)
    ├── MediaError                  a video or an image that cannot be read
    ├── ModelError                  a model that was rejected, is unknown, or failed
    ├── StoreError                  the peer's database
    │   ├── StoreFull               no room on the disk: nothing was written, reading goes on
    │   ├── StoreRefused    exit 2   another program's database, or a newer meshinfer's: it is left as it is
    │   └── StoreDamaged    exit 6   a start mends it: run `meshinfer up` again
    ├── NodeNotRunning              exit 3   no node answers in this home folder
    ├── PartialResult               exit 4   an answer was given, but peers are missing from it
    └── TimedOut                    exit 5   the deadline the user gave has passed

The message of an instance says what happened, why, and what to do; it is printed as it is, without a traceback.
Third-party exceptions are mapped to these once, in the package that imports the third party.
"""

from __future__ import annotations


class MeshInferError(Exception):
    """Something meshinfer can explain went wrong."""

    exit_code = 1


class ConfigError(MeshInferError):
    """A flag, a file or a value that the user gave is wrong."""

    exit_code = 2


class ProtocolError(MeshInferError):
    """A remote peer sent something that breaks the protocol."""


class DecodeError(ProtocolError):
    """Bytes that do not decode into the message they claim to be."""


class UnsupportedVersion(ProtocolError):
    """A message of a protocol version this peer does not speak."""


class MessageTooBig(ProtocolError):
    """A message, or a field in one, over its limit."""


class MeshError(MeshInferError):
    """The network could not do what was asked of it."""


class MediaError(MeshInferError):
    """A video or an image that cannot be read."""


class ModelError(MeshInferError):
    """A model that was rejected, that nobody knows, or that failed while running."""


class ModelDamaged(ModelError):
    """What lies on the shelf is no longer what its digest names: the same model may come again from elsewhere."""


class StoreError(MeshInferError):
    """The peer's database could not be read or written."""


class StoreFull(StoreError):
    """The disk is full: nothing was written. Reading still works; free some space and the store goes on."""


class StoreRefused(StoreError):
    """A healthy database that is not ours to touch: another program's, or one of a newer meshinfer."""

    exit_code = 2


class StoreDamaged(StoreError):
    """The database is torn or corrupted. The next start moves it aside and begins a new one."""

    exit_code = 6

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what
        """The damage in a few words, as SQLite has them."""


class NodeNotRunning(MeshInferError):
    """No node answers in this home folder."""

    exit_code = 3


class PartialResult(MeshInferError):
    """An answer was given, but some peers are missing from it."""

    exit_code = 4


class TimedOut(MeshInferError):
    """The deadline that the user gave has passed."""

    exit_code = 5
