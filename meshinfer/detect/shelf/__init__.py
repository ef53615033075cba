"""The models a peer holds, and whose it trusts (docs/MODELS.md, "The store").

folder.py   the files: model, sidecar, seals, and a note
bundling.py a file as a bundle: its sha256, and those of its chunks
names.py    what may name a model, and which one a name means
old.py      folders of before models had seals
shelf.py    what is there, what may run, what goes when room is needed
verify.py   everything that can be wrong with one
"""

from meshinfer.detect.shelf.folder import Held as Held
from meshinfer.detect.shelf.shelf import EMBEDDED as EMBEDDED
from meshinfer.detect.shelf.shelf import Open as Open
from meshinfer.detect.shelf.shelf import Shelf as Shelf
from meshinfer.detect.shelf.shelf import on_cpu as on_cpu
