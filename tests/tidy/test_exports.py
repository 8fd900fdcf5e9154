from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import tether_core
import tether_core.errors

if TYPE_CHECKING:
    from tests.tidy.conftest import Every

ROOT = Path(__file__).parents[2]
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(tether_core.__path__, "tether_core.")
]


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _defined() -> Iterator[tuple[ModuleType, str, Any]]:
    """Every function and class a module offers, and where it is written."""
    for module in MODULES:
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            written_here = getattr(thing, "__module__", None) == module.__name__
            if written_here and (inspect.isfunction(thing) or inspect.isclass(thing)):
                yield module, name, thing


def _functions() -> Iterator[tuple[str, Any]]:
    """Every function a module offers, and every method of a class it offers."""
    for module, name, thing in _defined():
        if inspect.isfunction(thing):
            yield f"{module.__name__}.{name}", thing
        else:
            for inner, method in vars(thing).items():
                plain = method.__func__ if isinstance(method, classmethod | staticmethod) else method
                if inspect.isfunction(plain) and not inner.startswith("_"):
                    yield f"{module.__name__}.{name}.{inner}", plain


FUNCTIONS = dict(_functions())
CLASSES = {f"{m.__name__}.{name}": thing for m, name, thing in _defined() if inspect.isclass(thing)}


def _written(name: str) -> ast.FunctionDef:
    """The definition of a function in its source: strategies, made by a decorator, have no source of their own."""
    module = max(
        (each for each in MODULES if name.startswith(f"{each.__name__}.")), key=lambda m: len(m.__name__)
    )
    scope: Any = _tree(module)
    for part in name.removeprefix(f"{module.__name__}.").split("."):
        scope = next(node for node in scope.body if getattr(node, "name", None) == part)
    assert isinstance(scope, ast.FunctionDef)
    return scope


def _raises(name: str) -> bool:
    """Whether the function itself raises; what its callees raise is theirs to say."""

    def inside(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
                yield child
                yield from inside(child)

    return any(isinstance(node, ast.Raise) and node.exc is not None for node in inside(_written(name)))


def test_modules_say_what_they_offer(every: Every) -> None:
    """Without `__all__` every import a module makes looks like a part of the library."""

    def rule(module: ModuleType) -> None:
        offered = getattr(module, "__all__", None)
        if offered is None:
            # A package that only says what its modules are.
            assert hasattr(module, "__path__"), "add __all__"
            return
        assert len(set(offered)) == len(offered)
        assert [name for name in offered if not hasattr(module, name)] == []
        assert not [name for name in offered if name.startswith("_")]

    every(MODULES, rule)


def test_what_looks_public_is_offered(every: Every) -> None:
    """A function that is neither private nor offered is used by somebody and changed without notice."""

    def rule(module: ModuleType) -> None:
        written = {
            node.name
            for node in _tree(module).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
        }
        assert written <= set(getattr(module, "__all__", ()))

    every(MODULES, rule)


def test_modules_say_what_they_are(every: Every) -> None:
    """A reader of the file would have to guess its subject."""

    def rule(module: ModuleType) -> None:
        assert module.__doc__
        assert module.__doc__.strip().partition("\n\n")[0].rstrip().endswith((".", ":"))

    every(MODULES, rule)


def test_public_names_have_a_docstring_of_their_own(every: Every) -> None:
    """help() would show nothing, or what msgspec makes up."""

    def rule(name: str) -> None:
        thing = FUNCTIONS.get(name) or CLASSES[name]
        text = thing.__doc__
        assert text
        assert text.strip()
        if inspect.isclass(thing):
            parents = [parent.__doc__ for parent in thing.__mro__[1:]]
            assert text not in parents

    every([*FUNCTIONS, *CLASSES], rule)


# Arguments that mean the same everywhere, so that no docstring explains them.
PLAIN = {"self", "cls", "now", "conn", "pool", "limit"}


def test_arguments_are_explained(every: Every) -> None:
    """Units, ranges and what None means stand nowhere else."""

    def rule(name: str) -> None:
        function = FUNCTIONS[name]
        text = function.__doc__ or ""
        arguments = [each for each in inspect.signature(function).parameters if each not in PLAIN]
        if "Args:" in text:
            listed = re.findall(r"^\s+\*{0,2}(\w+)(?: \([^)]*\))?:", text.partition("Args:")[2], re.MULTILINE)
            assert [each for each in arguments if each not in listed] == []
        elif len(arguments) > 1:
            # A single sentence may name them itself, as *this* or `this`; of one argument it speaks anyway.
            assert [each for each in arguments if not re.search(rf"[*`]{each}[*`]", text)] == []

    every([name for name in FUNCTIONS if name.rpartition(".")[0] not in CLASSES], rule)


def test_errors_are_announced(every: Every) -> None:
    """A caller cannot catch what is not said, and takes a 4xx for a bug."""

    def rule(name: str) -> None:
        assert "Raises:" in (FUNCTIONS[name].__doc__ or "")

    every([name for name in FUNCTIONS if _raises(name)], rule)


def test_fields_are_explained(every: Every) -> None:
    """A field without unit and range is read in two ways by two people."""

    def rule(name: str) -> None:
        struct: Any = CLASSES[name]
        text = struct.__doc__ or ""
        parents = [
            parent
            for parent in struct.__mro__[1:]
            if isinstance(vars(parent).get("__struct_fields__"), tuple)
        ]
        inherited = {field for parent in parents for field in parent.__struct_fields__}
        missing = [
            field
            for field in struct.__struct_fields__
            if field not in inherited
            and not re.search(rf"^\s+(?:\w+, )*{field}(?:, \w+)*:", text, re.MULTILINE)
        ]
        assert missing == []

    every([name for name, thing in CLASSES.items() if issubclass(thing, msgspec.Struct)], rule)


def test_the_package_offers_types_and_no_verbs() -> None:
    """`decode` and `step` mean something else in every module; flat, the last import would win."""
    assert not [name for name in tether_core.__all__ if inspect.isfunction(getattr(tether_core, name))]


def test_every_error_is_offered_flat() -> None:
    """A user who catches by branch would have to know where each class lives."""
    assert set(tether_core.errors.__all__) <= set(tether_core.__all__)


def test_there_is_one_version_everywhere() -> None:
    """A report names one version, and the installed package would be another."""
    said = {
        tomllib.loads(page.read_text())["project"]["version"]
        for page in ROOT.glob("packages/*/pyproject.toml")
    }
    assert said == {tether_core.__version__}


def test_the_package_lists_its_modules() -> None:
    """A module that the first page leaves out is found by nobody."""
    written = tether_core.__doc__ or ""
    modules = [found.name for found in pkgutil.iter_modules(tether_core.__path__)]
    assert [name for name in modules if f"`{name}`" not in written and f"`{name}." not in written] == []


def test_the_package_loads_no_reader_of_workbooks_and_no_test_library() -> None:
    """A web process that only verifies signatures would carry them, and need Hypothesis installed."""
    asked = "import tether_core, sys; print(*sorted({'python_calamine', 'hypothesis'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
