#!/usr/bin/env python3
"""The library exports the namespace ingot and nothing else: whatever it links, or instantiates from the standard
library, cannot clash with the host program's own copy."""

import argparse
import re
import subprocess
import sys

# nm -C prints these in front of what belongs to a class.
DECORATION = re.compile(r"^(typeinfo for |typeinfo name for |vtable for |VTT for |guard variable for |"
                        r"(non-)?virtual thunk to |covariant return thunk to )*")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library")
    parser.add_argument("--nm", default="nm")
    args = parser.parse_args()
    listing = subprocess.run([args.nm, "-D", "-C", "--defined-only", args.library], check=True, text=True,
                             capture_output=True).stdout
    symbols = [line.split(maxsplit=2)[-1] for line in listing.splitlines()]
    if len(symbols) < 20:
        sys.exit(f"only {len(symbols)} symbols are exported: the version script hides the library itself")
    foreign = [s for s in symbols if not DECORATION.sub("", s).startswith("ingot::")]
    for symbol in foreign[:20]:
        print("exported, but not of namespace ingot:", symbol)
    print(f"{len(symbols)} exported symbols, {len(foreign)} of them foreign")
    return 1 if foreign else 0


if __name__ == "__main__":
    sys.exit(main())
