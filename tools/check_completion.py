"""
Complete commands of `tether` in real shells: bash, zsh and fish, as a person who types and presses Tab.

Bash and zsh run in a pseudo terminal, in which `tether` is a function that writes its words. Fish lists what it would offer. Needs Debian's packages zsh and fish.

Run it: `just shells`
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tether_client.__main__ import _parser
from tether_client.command.completion import SHELLS, words

# What is typed, with Tab where a word is completed, and what the command then gets.
_TYPED: Final = (
    ("tether upl\t", "uploads"),
    ("tether uploads bi\t12", "uploads bill 12"),
    ("tether uploads bill 12 --due\t2026-03", "uploads bill 12 --due-item 2026-03"),
    ("tether notifications rep\t9 --dry\t", "notifications replay 9 --dry-run"),
    ("tether checks list 12 --res\tmismatch", "checks list 12 --result mismatch"),
    ("tether completion fi\t", "completion fish"),
    ("tether runs show 3 --\twait", "runs show 3 --wait"),
)
# What has been typed -> some of what is offered, and what is not.
_OFFERED: Final = (
    ("tether upl", {"uploads"}, {"uploads add", "runs"}),
    ("tether uploads ", {"add", "bill", "problems", "withdraw"}, {"uploads", "pause"}),
    ("tether uploads bill 12 --due", {"--due-item"}, {"--filename"}),
    ("tether notifications replay 9 --", {"--dry-run", "--json"}, {"--due-item"}),
    ("tether completion ", {"bash", "zsh", "fish"}, {"uploads"}),
)
_DEADLINE_S: Final = 60.0
_SHELLS: Final = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
_SETUP: Final = {
    "bash": "PS1='ready$ '; bind 'set enable-bracketed-paste off'",
    "zsh": "PS1='ready$ '; unset zle_bracketed_paste; fpath=({folder} $fpath); autoload -Uz compinit; compinit -D -u",
}
_ECHO: Final = "tether() { printf 'GOT:%s.\\n' \"$*\"; }"


class _Terminal:
    """A shell in a pseudo terminal."""

    def __init__(self, argv: list[str], *, folder: Path) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            environ = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
            os.execvpe(argv[0], argv, environ)  # noqa: S606 - the shell is what is tried
        self.seen = ""

    def write(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until the shell has written a text that was not there before."""
        until = time.monotonic() + _DEADLINE_S
        while text not in self.seen:
            if time.monotonic() > until:
                raise TimeoutError(f"the shell never wrote {text!r}; it wrote {self.seen[-500:]!r}")
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65_536).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        os.close(self.fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def main() -> int:
    """Try each shell; 0 where all complete as they should."""
    missing = [shell for shell in SHELLS if shutil.which(shell) is None]
    if missing:
        sys.stderr.write(f"install {' and '.join(missing)} first: apt-get install {' '.join(missing)}\n")
        return 2
    tree = dict(words(_parser()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for shell, argv in _SHELLS.items():
            _typed(shell, argv, SHELLS[shell](tree), folder)
        _offered(SHELLS["fish"](tree), folder)
    sys.stdout.write("bash, zsh and fish complete the commands\n")
    return 0


def _typed(shell: str, argv: list[str], script: str, folder: Path) -> None:
    # Installed as docs/guides/command-line.md says: bash sources its file, and zsh finds one of this name in fpath.
    home, scripts = folder / shell, folder / f"{shell}-scripts"
    home.mkdir()
    scripts.mkdir()
    (scripts / "_tether").write_text(script)
    terminal = _Terminal(argv, folder=home)
    try:
        setup = _SETUP[shell].format(folder=scripts)
        sourced = [f"source {scripts / '_tether'}"] if shell == "bash" else []
        for line in (setup, *sourced, _ECHO, "printf 'SET %s\\n' UP"):
            terminal.write(f"{line}\n")
        terminal.wait_for("SET UP")
        for typed, expected in _TYPED:
            terminal.write(typed)
            # A shell reads its terminal as it comes: the line ends once the completed word is on the screen.
            terminal.write("\n")
            terminal.wait_for(f"GOT:{expected}")
            sys.stdout.write(f"{shell}: {typed!r} gives {expected!r}\n")
    finally:
        terminal.close()


def _offered(script: str, folder: Path) -> None:
    path = folder / "fish.script"
    path.write_text(script)
    for typed, some, others in _OFFERED:
        ran = subprocess.run(  # noqa: S603 - the arguments are those of this file
            [shutil.which("fish") or "", "--no-config", "-c", f"source {path}; complete -C '{typed}'"],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"},
            cwd=folder,
            timeout=_DEADLINE_S,
        )
        found = {line.partition("\t")[0] for line in ran.stdout.splitlines()}
        if ran.stderr or not some <= found or found & others:
            raise AssertionError(f"fish offers {sorted(found)} for {typed!r}; {ran.stderr}")
        sys.stdout.write(f"fish: {typed!r} offers {', '.join(sorted(some))}\n")


if __name__ == "__main__":
    sys.exit(main())
