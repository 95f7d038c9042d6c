"""Commands of which only one runs at a time, on whichever machine."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from .exceptions import LeaseLost, WorkTaken


class AloneCommand(BaseCommand):
    """Says who is at the work when it is taken, which is no failure."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the work, or say why it is not done."""
        self._talks = options["verbosity"] > 0
        try:
            self.work(**options)
        except WorkTaken as error:
            # The other one does the work: no reason for cron to send a mail.
            self.say(f"{error} Nothing was done.")
        except LeaseLost as error:
            raise CommandError(str(error)) from error

    def work(self, **options: Any) -> None:
        """Do the work, within a lease where it changes something.

        Raises:
            WorkTaken: Another process is at it.
            LeaseLost: Another process has taken it over.
        """
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Write a line for people, unless they want none."""
        if self._talks:
            self.stdout.write(text)
