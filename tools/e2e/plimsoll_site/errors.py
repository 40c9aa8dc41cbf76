"""The one error that this package raises on purpose."""

from __future__ import annotations

from plimsoll_testenv.errors import TestEnvError


class SiteError(TestEnvError):
    """A host could not be started, or one of its commands failed; the text says why."""
