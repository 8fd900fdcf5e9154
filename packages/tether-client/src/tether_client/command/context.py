"""What a command has: its arguments, a client, and where results go."""

import argparse
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from tether_client.client import Client
from tether_client.command.output import Output, money, table
from tether_client.credentials import Credentials, checked_url, find
from tether_client.errors import Refused
from tether_client.pages import PAGE_MAX, Page

__all__ = ["Context"]


class Context:
    """
    One call of the command.

    Attributes:
        args: The parsed arguments.
        environ: Of the process.
        output: Where results go.
    """

    def __init__(self, args: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self.args, self.environ = args, environ
        self.output = Output(is_json=args.json)

    @cached_property
    def credentials(self) -> Credentials:
        """The address and the key to use."""
        found = find(self.environ, profile=self.args.profile)
        if self.args.url and checked_url(self.args.url) != found.url:
            raise Refused(
                f"The stored key is for {found.url}. Store one for the other address: `tether login --url {self.args.url} --profile NAME`."
            )
        return found

    @cached_property
    def client(self) -> Client:
        """The client; opened once."""
        return Client(self.credentials.url, api_key=self.credentials.api_key, timeout_s=self.args.timeout)

    def close(self) -> None:
        """Close what was opened."""
        self.output.progress.end()
        if "client" in self.__dict__:
            self.client.close()

    def confirm(self, question: str) -> None:
        """
        Go on only if the person agrees, or gave --yes.

        Raises:
            Refused: when nobody agrees.
        """
        if self.args.yes:
            return
        if not self.output.can_ask():
            raise Refused(f"{question} There is no terminal to confirm it; give --yes to do it.")
        if not self.output.ask(question):
            raise Refused("Nothing was done.")

    def listed(self, listing: Any, columns: Sequence[tuple[str, str]], **filters: Any) -> int:
        """
        Write a list of rows, as many as --limit says.

        Args:
            listing: A method of the client that gives pages.
            columns: Header and attribute of each column; "amount_minor" is written as money.
            filters: For the method.
        """
        given = {name: value for name, value in filters.items() if value is not None}
        left, cursor, items = self.args.limit, self.args.cursor, list[Any]()
        while True:
            page = listing(cursor=cursor, limit=min(left, PAGE_MAX), **given)
            items += page.items
            cursor, left = page.next, left - len(page.items)
            if cursor is None or left <= 0:
                break
        self.output.result(Page(items, cursor), lambda: rows_text(items, columns))
        if cursor is not None and not self.output.is_json:
            self.output.note(f"There are more rows: --cursor {cursor}, or a larger --limit.")
        return 0


def rows_text(items: Sequence[Any], columns: Sequence[tuple[str, str]]) -> str:
    """Rows as a table, or a sentence where there are none."""
    if not items:
        return "no rows\n"
    return table(
        [name for name, _ in columns], [[_value(item, name) for _, name in columns] for item in items]
    )


def _value(item: Any, name: str) -> Any:
    for part in name.split("."):
        item = getattr(item, part)
    if name.endswith("_minor"):
        return money(item).rjust(12)
    return item
