"""`tether mandates`, `plans`, `schedules`, `due-items` and `pre-notifications`: recurring collection."""

from tether_client.command.arguments import Commands
from tether_client.command.recurring import mandates, plans, pre_notifications

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add the commands of recurring collection."""
    for subject in (mandates, plans, pre_notifications):
        subject.add_commands(commands)
