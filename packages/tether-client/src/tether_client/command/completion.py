"""
`tether completion`: scripts with which a shell completes commands and options.

They are made from the parser, so they know every command, and they start no process while a person types.
"""

import argparse
from collections.abc import Callable, Iterator

from tether_client.command.arguments import Commands
from tether_client.command.context import Context

__all__ = ["SHELLS", "add_commands", "words"]

_BASH = """\
_tether() {{
    local path="" word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${{COMP_WORDS[i]}}"
        case "$path $word" in
            {paths}) path="$path $word" ;;
        esac
    done
    case "$path" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$word" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _tether tether
"""
_ZSH = """\
#compdef tether
_tether() {{
    local tree="" word i
    for ((i = 2; i < CURRENT; i++)); do
        word="${{words[i]}}"
        case "$tree $word" in
            ({paths}) tree="$tree $word" ;;
        esac
    done
    case "$tree" in
{cases}
    esac
    compadd -- ${{=word}}
    _files
}}
# A file in fpath is run as the function of its name, at the first Tab.
if [[ "${{funcstack[1]}}" == _tether ]]; then
    _tether "$@"
else
    compdef _tether tether
fi
"""
_FISH = """\
function __tether_at
    set -l tree ""
    for word in (commandline -opc)[2..-1]
        switch "$tree $word"
            case {paths}
                set tree "$tree $word"
        end
    end
    test "$tree" = "$argv[1]"
end
{cases}
"""


def add_commands(commands: Commands) -> None:
    """Add the command of this module."""
    parser = commands.add_parser(
        "completion",
        help="write a script that completes commands in a shell",
        description="Write a script that completes commands and options in a shell.",
        epilog="Example: tether completion bash > ~/.local/share/bash-completion/completions/tether",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(do=_completion, json=False, profile=None, url=None)


def _completion(context: Context) -> int:
    tree = dict(words(context.args.parser))
    context.output.write(SHELLS[context.args.shell](tree))
    return 0


def words(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each command as a path such as " uploads add", with the words that can follow it."""
    following = list[str]()
    children = dict[str, argparse.ArgumentParser]()
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to list them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            children |= action.choices
        following += action.option_strings
        following += [str(choice) for choice in action.choices or () if not action.option_strings]
    yield path, following
    for name, child in children.items():
        yield from words(child, f"{path} {name}")


def _bash(tree: dict[str, list[str]]) -> str:
    paths = "|".join(f'"{path}"' for path in tree if path)
    cases = "\n".join(
        f'        "{path}") word="{" ".join(following)}" ;;' for path, following in tree.items()
    )
    return _BASH.format(paths=paths, cases=cases)


def _zsh(tree: dict[str, list[str]]) -> str:
    paths = "|".join(f'"{path}"' for path in tree if path)
    cases = "\n".join(
        f'        ("{path}") word="{" ".join(following)}" ;;' for path, following in tree.items()
    )
    return _ZSH.format(paths=paths, cases=cases)


def _fish(tree: dict[str, list[str]]) -> str:
    paths = " ".join(f'"{path}"' for path in tree if path)
    cases = "\n".join(
        f"complete -c tether -n '__tether_at \"{path}\"' -a '{' '.join(following)}'"
        for path, following in tree.items()
    )
    return _FISH.format(paths=paths, cases=cases)


SHELLS: dict[str, Callable[[dict[str, list[str]]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
