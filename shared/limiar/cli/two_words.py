"""Commands of two words, such as `index verify`, beside commands of one that take paths, such as `index PATH`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_ACTIONS = {
    "index": ("verify", "repair", "stats"),
    "expand": ("apply", "show", "edit", "export", "import", "stats"),
}


def as_one_word(arguments: Sequence[str]) -> list[str]:
    """The arguments with `index verify` as one command, unless a file has that name: one can be given as ./verify."""
    is_action = len(arguments) > 1 and arguments[1] in _ACTIONS.get(arguments[0], ())
    if is_action and not Path(arguments[1]).exists():
        return [f"{arguments[0]} {arguments[1]}", *arguments[2:]]
    return list(arguments)
