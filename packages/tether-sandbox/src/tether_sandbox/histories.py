"""
What changes around submissions while they live: clocks that are set, machines that sleep and boot, terminals that go.

For histories that are played against the rules of `tether_core` alone, with no service and no waiting. `Clocks` has the
true time beside what Postgres and the machines say of it; `Places` has the gateway identities of one account, as they are
configured, and as they were. A random number generator decides what happens to both.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Final

from tether_core.payments.gateway_identity import EVERY, UNKNOWN, identity
from tether_core.payments.not_found import Inquiry, needed

__all__ = ["EPOCH", "Clocks", "Machine", "Places"]

EPOCH: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
_STEPS_S: Final = (-3_600.0, -1_200.0, -60.0, 60.0, 1_200.0, 3_600.0)
# Address, login and terminal, each changed alone, and all at once.
_KEYS: Final = tuple(
    identity(f"https://{address}.example.net", login=login, terminal=terminal).key
    for address, login, terminal in (
        ("gate", "login-1", "terminal-1"),
        ("gate", "login-1", "terminal-2"),
        ("gate", "login-2", "terminal-1"),
        ("gate-2", "login-1", "terminal-1"),
        ("gate-2", "login-2", "terminal-3"),
    )
)


class Machine:
    """A machine that inquires: its boot clock, and the last step that it noticed."""

    def __init__(self, name: str, *, since_s: float) -> None:
        """
        Boot it.

        Args:
            name: Of this boot.
            since_s: The true time at which its boot clock reads 0.
        """
        self.name = name
        self.since_s = since_s
        self.stepped_s: float | None = None


class Clocks:
    """The true time, and three kinds of clocks with errors."""

    def __init__(self, rng: random.Random, *, machines: int = 2) -> None:
        """
        Begin with clocks that agree.

        Args:
            rng: Says what happens.
            machines: How many inquire.
        """
        self.rng = rng
        self.true_s = 0.0
        self.ahead_s = 0.0  # Postgres's clock, of the true time
        self.boots = machines
        self.machines = [Machine(f"boot-{number}", since_s=-1_000.0 * number) for number in range(machines)]

    @property
    def now(self) -> datetime:
        """The time of Postgres, which all nodes use."""
        return EPOCH + timedelta(seconds=self.true_s + self.ahead_s)

    def boot_s(self, machine: Machine) -> float:
        """What the boot clock of a machine reads."""
        return self.true_s - machine.since_s

    def set_postgres(self) -> None:
        """Postgres's clock is set, forward or back; or another server with another clock takes over."""
        self.ahead_s += self.rng.choice(_STEPS_S)
        self._notice()

    def set_machine(self) -> None:
        """A machine's clock is set: no time is read from it, but a step is detected."""
        self._notice()

    def stop_machine(self) -> None:
        """A virtual machine stands still, and its boot clock does not count it; or it is put back to an earlier state."""
        machine = self.rng.choice(self.machines)
        machine.since_s += self.rng.choice((30.0, 1_000.0, 5_000.0))
        self._notice()

    def boot_machine(self) -> None:
        """A machine is booted: its boot clock begins anew, and what it noticed is forgotten."""
        number = self.rng.randrange(len(self.machines))
        self.machines[number] = Machine(f"boot-{self.boots}", since_s=self.true_s)
        self.boots += 1

    def restart_process(self) -> None:
        """A process is restarted: its machine's boot clock continues, and what it detected is forgotten."""
        self.rng.choice(self.machines).stepped_s = None

    def _notice(self) -> None:
        # Not always: nothing may hang on it.
        for machine in self.machines:
            if self.rng.random() < 0.7:
                machine.stepped_s = self.boot_s(machine)


class Places:
    """The gateway identities of one account: those in force, those of another account, and those the database remembers."""

    def __init__(self, rng: random.Random) -> None:
        """
        Begin with one identity.

        Args:
            rng: Says what happens.
        """
        self.rng = rng
        self.configured = [_KEYS[0]]
        self.others: set[str] = set()
        self.recent = frozenset(self.configured)  # goes back with the database
        self.used: set[str] = set()
        self.password_fits = True

    @property
    def current(self) -> str:
        """Where new submissions go."""
        self.used.add(self.configured[0])
        return self.configured[0]

    def change(self) -> None:
        """Another terminal, login or address for new submissions; the old ones are kept, go to another account, or go."""
        key = self.rng.choice(_KEYS)
        old = [item for item in self.configured if item != key]
        kept = self.rng.choice((old, old[:1], []))
        if self.rng.random() < 0.3:
            self.others |= set(old)
        self.configured = [key, *kept]
        self.remember()

    def forget_others(self) -> None:
        """The other account is removed."""
        self.others.clear()

    def change_password(self) -> None:
        """The gateway has another password than is configured, or no longer."""
        self.password_fits = not self.password_fits

    def remember(self) -> None:
        """The database remembers what is configured, as `tether_worker.payments.submission_identity` has it."""
        self.recent |= set(self.configured)

    def restore(self, recent: frozenset[str]) -> None:
        """
        The database goes back to a copy that remembers some of them.

        What was used by the lost part alone stays configured meanwhile: otherwise it could not be known.
        """
        self.configured += sorted(self.used - recent - set(self.configured))
        self.recent = recent
        self.remember()

    def configure_all(self) -> None:
        """The operator does what the warnings say, and corrects the password."""
        self.configured += sorted((self.used | self.recent) - set(self.configured))
        self.password_fits = True
        self.remember()

    def to_inquire(self, submitted_to: tuple[str, ...] | None) -> list[str]:
        """Where to inquire about a submission, as `tether_worker.gateway.status_inquiry.inquire` does."""
        went_to = set(submitted_to or (UNKNOWN,))
        if EVERY in went_to:
            went_to |= self.recent
        reachable = dict.fromkeys((*self.configured, *sorted(self.others & went_to)))
        first = [key for key in reachable if key in went_to]
        if not went_to & {UNKNOWN, EVERY} and len(first) == len(went_to):
            return first
        return [*first, *(key for key in reachable if key not in went_to)]

    def inquiry(
        self, clocks: Clocks, machine: Machine, *, not_found_at: set[str], inquired_s: float
    ) -> Inquiry:
        """
        What an answer "not found" that comes now is worth.

        Args:
            clocks: That tell when.
            machine: That inquired.
            not_found_at: The identities that gave that answer.
            inquired_s: When the inquiry began, on the machine's boot clock.
        """
        return Inquiry(
            frozenset(not_found_at),
            frozenset(self.configured) | self.recent,
            boot=machine.name,
            inquired_s=inquired_s,
            answered_s=clocks.boot_s(machine),
            stepped_s=machine.stepped_s,
        )

    def is_out_of_reach(self, submitted_to: tuple[str, ...] | None) -> bool:
        """Whether no configured identity can answer "not found" about a submission."""
        of_all = needed(submitted_to or (UNKNOWN,), configured=frozenset(self.configured) | self.recent)
        return of_all is None or not of_all <= set(self.configured) | self.others
