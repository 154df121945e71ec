"""Imported once by the process that cells are forked from: nobody else should import it."""

import os

from graftwork.bench.child import preload
from graftwork.bench.local import PRELOAD

preload(os.environ.get(PRELOAD, ""))
