"""`tether`: see and steer Tether from a terminal, through its HTTP API."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from tether_client import __version__
from tether_client.command import (
    accounts,
    blacklist,
    bulk,
    checks,
    completion,
    debtors,
    events,
    figures,
    notifications,
    operation,
    payments,
    people,
    reconciliation,
    recurring,
    refunds,
    relays,
    return_policies,
    runs,
    session,
    smoke,
    statement_texts,
    subscribers,
    uploads,
)
from tether_client.command.context import Context
from tether_client.command.output import cleaned
from tether_client.errors import ClientError, Defective, NotAllowed, Unavailable

__all__ = ["EXIT_CODES", "main"]

# As sysexits.h has them; the other programs of Tether use the same. docs/reference/exit-codes.md explains them.
EXIT_CODES: Final = {
    0: "done",
    1: "done, and the answer is no: not ready, paused, failed, a question is open, or not everything succeeded",
    2: "refused: the command or the input must change first",
    70: "Tether failed, or something else answered in its place",
    75: "Tether cannot be reached or cannot answer now; the same command may work later",
    77: "there is no valid key, or the key has no permission for this",
    130: "stopped by Ctrl-C",
    141: "the reader of the output has closed it",
}


def main(argv: Sequence[str] | None = None, *, environ: Mapping[str, str] | None = None) -> int:
    """
    Run the command line.

    Args:
        argv: Arguments without the program's name; `None` for those of the process.
        environ: `None` for the environment of the process.

    Returns:
        The exit code, of `EXIT_CODES`.
    """
    args = _parser().parse_args(argv)
    context = Context(args, os.environ if environ is None else environ)
    try:
        code: int = args.do(context)
    except ClientError as exc:
        sys.stderr.write(f"tether: {cleaned(str(exc))}\n")
        return _code(exc)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of the output has closed it, as `head` does. Python would print another error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    finally:
        context.close()
    return code


def _code(exc: ClientError) -> int:
    if isinstance(exc, NotAllowed):
        return 77
    if isinstance(exc, Unavailable):
        return 75
    return 70 if isinstance(exc, Defective) else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tether",
        description="Operate Tether from a terminal. Every command uses the API that the console uses.",
        epilog="The address and the key come from TETHER_URL and TETHER_API_KEY, or from `tether login`. "
        "Example: tether uploads add members.csv --wait",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for subject in (
        session,
        uploads,
        runs,
        statement_texts,
        checks,
        payments,
        refunds,
        debtors,
        blacklist,
        notifications,
        bulk,
        reconciliation,
        recurring,
        relays,
        return_policies,
        figures,
        operation,
        accounts,
        smoke,
        people,
        events,
        subscribers,
        completion,
    ):
        subject.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
