"""What a peer remembers: records, tasks, events, known files and peers, in one SQLite file.

Every call blocks and may come from any worker thread; the trio thread never makes one.
"""

from meshinfer.errors import StoreDamaged, StoreFull
from meshinfer.store.db import Database
from meshinfer.store.events import EventLog, ResultKey, result_key
from meshinfer.store.files import FileTable, Known
from meshinfer.store.heal import open_healed
from meshinfer.store.peers import KnownPeer, PeerTable
from meshinfer.store.records import RecordTable, Stored
from meshinfer.store.tasks import MAX_ATTEMPTS, TaskRow, TaskState, TaskTable

__all__ = [
    "MAX_ATTEMPTS",
    "Database",
    "EventLog",
    "FileTable",
    "Known",
    "KnownPeer",
    "PeerTable",
    "RecordTable",
    "ResultKey",
    "StoreDamaged",
    "StoreFull",
    "Stored",
    "TaskRow",
    "TaskState",
    "TaskTable",
    "open_healed",
    "result_key",
]
