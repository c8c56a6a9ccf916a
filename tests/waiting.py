"""What the scripts beside this file share: how they wait, and how they give up."""

import sys
import time
from pathlib import Path


def fail(text):
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.exit(1)


def until(what, reached, within, pause=0.05):
    """Asks again and again until there is an answer, and gives it."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        value = reached()
        if value:
            return value
        time.sleep(pause)
    fail(f"not within {within} s: {what}")
