"""What happens to a line that no document can be made of."""

from __future__ import annotations

from limiar.errors import InputError


class BadLines:
    """The first one ends the reading, or all are passed over and counted.

    Args:
        skip: pass over.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.count = 0

    def met(self, error: InputError) -> None:
        """Raise `error`, or count it."""
        if not self.skip:
            raise error
        self.count += 1
