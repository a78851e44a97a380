"""`python -m tests.fuzz SECONDS [SEED]`: looks for texts that break the identity of indicators."""

from __future__ import annotations

import random
import sys
import time

from tests.fuzz.identity import TARGETS, Finding, fuzz


def main(arguments: list[str]) -> int:
    """0 where nothing was found, 1 where something was, 2 for wrong arguments."""
    if len(arguments) not in (1, 2) or not all(argument.isdigit() for argument in arguments):
        print("python -m tests.fuzz SECONDS [SEED]", file=sys.stderr)
        return 2
    seed = int(arguments[1]) if len(arguments) == 2 else random.randrange(1 << 32)
    print(f"seed {seed}, {len(TARGETS)} targets", flush=True)
    began, shown, tried, found = time.monotonic(), 0.0, 0, 0
    for each in fuzz(TARGETS, float(arguments[0]), seed):
        if isinstance(each, Finding):
            found += 1
            print(each, flush=True)
            continue
        tried = each
        seconds = time.monotonic() - began
        if seconds - shown >= 5:
            shown = seconds
            print(f"{seconds:.0f} s: {tried:,} texts, {found} found", flush=True)
    print(f"{tried:,} texts in {time.monotonic() - began:.0f} s, {found} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
