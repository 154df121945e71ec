"""The zoo's own modules, for its tests; --import-mode=importlib leaves sys.path alone."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
