r"""
XML of the gateway: documents written from fields and read as plain nodes.

The gateway's documents are small trees of named texts. None needs a document type or entities of its own, which XML attacks
use. So a document with a document type is refused, and so is a document that is too large, too deep, or not UTF-8.

Source: XML 1.0, fifth edition, 2.2 (characters), 2.11 (line ends), 4.1 (references).

>>> write("note", [("to", "Müller & Söhne"), ("cc", None), ("amount", 12)])
b'<?xml version="1.0" encoding="UTF-8"?>\n<note><to>M\xc3\xbcller &amp; S\xc3\xb6hne</to><amount>12</amount></note>\n'
>>> read(b"<note><to> Tove </to><cc/></note>", what="note").fields()
{'to': 'Tove'}
>>> read(b'<!DOCTYPE note [<!ENTITY a "b">]><note>&a;</note>', what="note")
Traceback (most recent call last):
    ...
tether_core.errors.Unreadable: This note cannot be read: it declares a document type.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NoReturn, Union
from xml.parsers.expat import ExpatError, ParserCreate

import msgspec

from tether_core.errors import InvalidRequest, Unreadable

__all__ = ["SIZE_MAX_BYTES", "Content", "Node", "read", "write"]

# A full page of the largest kind, 999 chargebacks with every field, stays near 3 MB.
SIZE_MAX_BYTES: Final = 8 * 1024 * 1024
_DEPTH_MAX: Final = 16  # four levels are documented
_ELEMENTS_MAX: Final = 200_000  # 999 items of 100 fields, twice

# What XML 1.0 cannot hold, and the control characters that it could: no text that we submit needs them.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

# Union, because a quoted name takes part in no `|`.
Content = Union[str, int, None, Sequence[tuple[str, "Content"]]]  # noqa: UP007 - see the line above


class Node(msgspec.Struct):
    """
    An XML element.

    Attributes:
        name: Its tag.
        attributes: Name to value.
        text: Its own characters, blanks at both ends removed.
        children: Its elements, in order.
    """

    name: str
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    text: str = ""
    children: list["Node"] = msgspec.field(default_factory=list)

    def __repr__(self) -> str:
        """Show the tag and the number of children; the content may be personal."""
        return f"Node({self.name}, {len(self.children)} children)"

    def fields(self) -> dict[str, str]:
        """
        The texts below this element by their path, e.g. "billing_address/city".

        Returns:
            In order; of a repeated path the first. Empty elements are left out: they mean the same as missing ones.
        """
        found = dict[str, str]()
        waiting = [(child.name, child) for child in reversed(self.children)]
        while waiting:
            path, node = waiting.pop()
            if node.text:
                found.setdefault(path, node.text)
            waiting += [(f"{path}/{child.name}", child) for child in reversed(node.children)]
        return found

    def repeated(self, name: str) -> bool:
        """
        Whether the direct child *name* comes with two different texts.

        Args:
            name: A tag.
        """
        return len({child.text for child in self.children if child.name == name and child.text}) > 1


def write(root: str, content: Sequence[tuple[str, Content]]) -> bytes:
    """
    Write a UTF-8 document.

    Args:
        root: Tag of the root element.
        content: Tag and content in order; a sequence nests, `None` and an empty sequence leave the element out.

    Returns:
        The document with its declaration and a newline at the end.

    Raises:
        InvalidRequest: when a text holds a control character or half a surrogate pair.
    """
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{_inner(content)}</{root}>\n'.encode()


def _inner(content: Iterable[tuple[str, Content]]) -> str:
    written = list[str]()
    for tag, value in content:
        if value is None or value == ():
            continue
        if isinstance(value, (str, int)):
            text = str(value)
            if _CONTROL.search(text):
                raise InvalidRequest(
                    "take out the control characters; no XML document can hold them", field=tag
                )
            inner = escape(text, quote=False)
        else:
            inner = _inner(value)
            if not inner:
                continue
        written.append(f"<{tag}>{inner}</{tag}>")
    return "".join(written)


def read(body: bytes, *, what: str, size_max_bytes: int = SIZE_MAX_BYTES) -> Node:
    """
    Read a document and return its root element.

    Args:
        body: The whole document; read as UTF-8, its declaration is ignored.
        what: Its name in errors.
        size_max_bytes: Largest document that is read.

    Returns:
        A tree of at most 16 levels and 200,000 elements.

    Raises:
        Unreadable: when it is larger, deeper, not well-formed, or declares a document type.
    """

    def refuse(why: str) -> NoReturn:
        raise Unreadable(what, why=why)

    def doctype(*_: object) -> None:
        refuse("it declares a document type")

    if len(body) > size_max_bytes:
        refuse(f"it is larger than {size_max_bytes} bytes")
    tree = _Tree(refuse_as=what)
    # The encoding is fixed here, so a declared one cannot choose a decoder.
    parser = ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = tree.open
    parser.EndElementHandler = tree.close
    parser.CharacterDataHandler = tree.text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(body, True)
    except ExpatError as exc:
        # expat's text names a kind and a place, never content.
        raise Unreadable(what, why=f"it is not well-formed XML ({exc})") from exc
    assert tree.root is not None  # expat refuses a document without a root
    return tree.root


class _Tree:
    """Builds nodes from the parser's callbacks."""

    def __init__(self, *, refuse_as: str) -> None:
        self.what = refuse_as
        self.root: Node | None = None
        self.path = list[Node]()
        self.texts = list[list[str]]()
        self.count = 0

    def open(self, name: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > _ELEMENTS_MAX:
            raise Unreadable(self.what, why=f"it has more than {_ELEMENTS_MAX} elements")
        if len(self.path) >= _DEPTH_MAX:
            raise Unreadable(self.what, why=f"it is nested more than {_DEPTH_MAX} deep")
        node = Node(name, attributes)
        if self.path:
            self.path[-1].children.append(node)
        else:
            self.root = node
        self.path.append(node)
        self.texts.append([])

    def close(self, _name: str) -> None:
        self.path.pop().text = "".join(self.texts.pop()).strip()

    def text(self, data: str) -> None:
        self.texts[-1].append(data)
