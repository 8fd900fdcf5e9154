"""`tether-web`: serve the application with Granian."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence

from tether_core import __version__
from tether_core.errors import InvalidRequest
from tether_stores.command_line import cannot_listen, done, whole

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    Args:
        argv: Arguments without the program's name; `None` for those of the process.

    Returns:
        The exit code.
    """
    args = _parser().parse_args(argv)

    # Several processes share their metrics through files; the folder must be known before the first metric is created.
    with tempfile.TemporaryDirectory(prefix="tether-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        return done("tether-web", lambda: _serve(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tether-web",
        description="Serve Tether's HTTP API: notifications, uploads and everything about them. Stateless; run any number of nodes.",
        epilog="Settings come from the environment (docs/reference/settings.md). Put nginx in front; see deploy/.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=whole(1, 65_535), default=8000, help="port to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=whole(1, 256),
        default=1,
        help="processes; at most one per core (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=whole(1, 3_600),
        default=30,
        metavar="SECONDS",
        help="time to drain on SIGTERM (default: %(default)s)",
    )
    return parser


def _serve(args: argparse.Namespace) -> int:
    from granian import Granian  # noqa: PLC0415 - after the environment is set
    from granian.constants import HTTPModes, Interfaces, Loops  # noqa: PLC0415
    from granian.log import LogLevels  # noqa: PLC0415
    from tether_stores import telemetry  # noqa: PLC0415
    from tether_stores.settings import Settings  # noqa: PLC0415

    settings = Settings.from_env(os.environ)
    missing = [
        name
        for name, value in {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}.items()
        if not value
    ]
    if missing:
        raise InvalidRequest(
            f"{' and '.join(missing)} must be set. To try it without your own services: "
            "tether-sandbox up -- tether-web"
        )
    if why := cannot_listen(args.host, args.port):
        raise InvalidRequest(why)
    telemetry.configure(level=settings.log_level, program="tether-web")
    log = telemetry.logger("serve")
    log.info("server started", host=args.host, port=args.port, workers=args.workers)
    _let_loading_processes_stop()
    Granian(
        "tether_web.app:create_app",
        factory=True,
        address=args.host,
        port=args.port,
        interface=Interfaces.ASGI,
        workers=args.workers,
        loop=Loops.uvloop if sys.platform != "win32" else Loops.asyncio,
        http=HTTPModes.http1,
        websockets=False,
        # Counts open connections, idle ones among them, so the default of backlog / workers starves a busy node.
        backlog=4096,
        backpressure=4096,
        respawn_failed_workers=True,
        workers_kill_timeout=args.grace,
        # Granian's log lines, such as why a worker did not start, use the same format.
        log_level=LogLevels.warning,
        log_dictconfig={"formatters": {}, "handlers": {}, "loggers": {"_granian": {"propagate": True}}},
        log_access=False,
    ).serve()
    log.info("server stopped")
    return 0


def _let_loading_processes_stop() -> None:
    # A process that is still loading has nothing to finish. The handler it inherits would set a flag in a copy of the
    # parent's state only, and the parent would wait for it until the grace period ends.
    numbers = (signal.SIGTERM, signal.SIGINT)

    def restore_defaults() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(
            signal.SIG_BLOCK, numbers
        ),  # signals that arrive meanwhile are delivered afterwards
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers),
        after_in_child=restore_defaults,
    )


if __name__ == "__main__":
    sys.exit(main())
