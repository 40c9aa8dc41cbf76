"""What is wrong with the files that a plan is to be made from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong, and what to do about it."""

    source: str
    """The file, or ``stdin``."""
    message: str
    document: int = 0
    """Number of the document in the file, from 1; 0: the file as a whole."""
    path: str = ""
    """JSON path within the document, such as ``$.spec.size.cpu.min``."""
    subject: str = ""
    """Kind and name of the object, as far as it tells them."""
    remedy: str = ""

    def __str__(self) -> str:
        where = self.source
        if self.document:
            where += f", document {self.document}"
        if self.subject:
            where += f" ({self.subject})"
        parts = [where, self.path, self.message, self.remedy]
        return ": ".join(part for part in parts if part)


class BadInput(ValueError):
    """Files that no plan can be made from. ``problems`` holds everything that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
