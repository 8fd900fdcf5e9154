"""`python -m benchmarks NAME`: run one of the benchmarks."""

import argparse
import sys

from benchmarks import (
    billing,
    capacity,
    chaos,
    drain,
    encryption,
    fairness,
    fuzz,
    growth,
    intake,
    overload,
    plans,
    profile,
    retention,
    soak,
    stages,
    streams,
    supervise,
    webhooks,
)

_ALL = {
    "billing": billing,
    "intake": intake,
    "fairness": fairness,
    "webhooks": webhooks,
    "drain": drain,
    "profile": profile,
    "growth": growth,
    "plans": plans,
    "soak": soak,
    "stages": stages,
    "streams": streams,
    "supervise": supervise,
    "chaos": chaos,
    "overload": overload,
    "fuzz": fuzz,
    "capacity": capacity,
    "encryption": encryption,
    "retention": retention,
}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Tether; see benchmarks/README.md."
    )
    commands = parser.add_subparsers(required=True, metavar="NAME")
    for name, module in _ALL.items():
        summary = (module.__doc__ or "").strip().partition("\n")[0].partition(": ")[2]
        item = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(item)
        item.set_defaults(run=module.run)
    args = parser.parse_args()
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
