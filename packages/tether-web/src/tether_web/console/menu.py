"""The menu of the console: its pages by what a person wants to do."""

from typing import Any, Final

__all__ = ["MENU", "SECTIONS", "entries"]

# Heading -> paths with their titles. A heading without words stands for the pages that everything begins with.
SECTIONS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "": (("/", "Overview"),),
    "Collect": (
        ("/uploads", "Uploads"),
        ("/runs", "Billing runs"),
        ("/collection-plans", "Recurring"),
        ("/payments", "Payments"),
        ("/refunds", "Refunds"),
        ("/debtors", "Debtors"),
        ("/checks", "Name checks"),
        ("/blacklist", "Blacklist"),
        ("/return-policies", "Return policy"),
        ("/statement-texts", "Statement texts"),
    ),
    "Check": (
        ("/notifications", "Notifications"),
        ("/reconciliation", "Reconciliation"),
        ("/figures", "Figures"),
        ("/events", "Events"),
        ("/audit", "Audit"),
    ),
    "Operate": (
        ("/gateway-accounts", "Gateway accounts"),
        ("/queues", "Queues and workers"),
        ("/bulk-orders", "Bulk orders"),
        ("/subscribers", "Subscribers"),
        ("/people", "People and keys"),
    ),
}
MENU: Final = tuple(page for pages in SECTIONS.values() for page in pages)
# Pages that are found under another one.
_UNDER: Final = {
    "/schedules": "/collection-plans",
    "/mandates": "/collection-plans",
    "/pre-notifications": "/collection-plans",
    "/deliveries": "/subscribers",
    "/layout-answers": "/uploads",
    "/relays": "/gateway-accounts",
    "/differences": "/reconciliation",
}


def entries(path: str) -> list[dict[str, Any]]:
    """
    The menu as the templates write it.

    Args:
        path: Of the present page; its entry is the current one.
    """
    first = "/" + path[1:].partition("/")[0]
    current = _UNDER.get(first, first)
    return [
        {
            "title": heading,
            "pages": [{"path": at, "title": title, "is_current": at == current} for at, title in pages],
        }
        for heading, pages in SECTIONS.items()
    ]
