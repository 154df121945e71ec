"""`python -m graftwork` is `graft`."""

import sys

from graftwork.cli import main

if __name__ == "__main__":
    sys.exit(main())
