"""
`python -m benchmarks fuzz`: a million random inputs for every decoder and every route; only Tether's own errors, no 500.

Runs `tests/fuzz` in its long form and keeps the number of inputs each decoder and each way to the routes had. Nothing is
measured but that.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from benchmarks.results import Aim, aims, heading, prose, table, write

__all__ = ["add_arguments", "run"]

_INPUTS_MIN = 1_000_000
_TESTS = Path(__file__).parent.parent / "tests" / "fuzz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="a hundred examples, to see that it works")
    parser.add_argument(
        "--examples",
        type=int,
        default=8_000,
        help="examples for each decoder, most of ten inputs (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when nothing was found, and there were enough inputs."""
    examples = 100 if args.short else args.examples
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tether-fuzz-") as folder:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                str(_TESTS),
                "--timeout=0",  # a test may take an hour here
                "--override-ini=faulthandler_timeout=0",
                "--hypothesis-profile=long",
                f"--hypothesis-seed={args.seed}",
            ],
            env={
                **os.environ,
                "TETHER_FUZZ_EXAMPLES": str(examples),
                "TETHER_FUZZ_COUNTS": folder,
            },
            check=False,
        )
        counted = Counter[str]()
        for part in Path(folder).glob("*.json"):
            counted.update(msgspec.json.decode(part.read_bytes(), type=dict[str, int]))
    found = sum(counted.values())
    judged = [Aim("tests that failed, 0", int(ended.returncode != 0), ended.returncode == 0)]
    if not args.short:
        judged.append(Aim(f"inputs, {_INPUTS_MIN:,} or more", found, found >= _INPUTS_MIN))
    lines = heading(f"Fuzz: {found:,} inputs", seed=args.seed)
    lines += prose(f"In {(time.monotonic() - began) / 60:.0f} minutes.")
    lines += table(("at", "inputs"), sorted(counted.items()))
    write("fuzz-short" if args.short else "fuzz", lines + aims(judged))
    return 0 if all(item.met for item in judged) else 1
