"""What the API server may answer other than success, as typed errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class ApiError(Exception):
    """The API server did not do what was asked.

    ``status`` is the HTTP status (0 where there was no answer), ``reason`` the
    server's CamelCase reason, ``details`` the ``details`` of its ``Status``.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        self.retry_after = retry_after
        """Seconds to wait, where the server said so."""

    @property
    def causes(self) -> tuple[tuple[str, str, str], ...]:
        """(reason, field, message) of each cause: schema violations, conflicting managers ..."""
        return tuple(
            (str(c.get("reason", "")), str(c.get("field", "")), str(c.get("message", "")))
            for c in self.details.get("causes") or ()
        )


class NotFound(ApiError):
    """404: the object, or the whole resource, does not exist."""


class AlreadyExists(ApiError):
    """409 on creation: the name is taken."""


class Conflict(ApiError):
    """409: a precondition failed, or another field manager owns the field."""


class Unauthorized(ApiError):
    """401: the credentials are missing or no longer valid."""


class Forbidden(ApiError):
    """403: not permitted."""


class Gone(ApiError):
    """410: the resourceVersion or the continue token is too old."""


class Invalid(ApiError):
    """400 or 422: the request or the object is wrong; repeating it will not help."""


class TooManyRequests(ApiError):
    """429: the server is busy, or (for an eviction) a disruption budget allows none."""


class Unreachable(ApiError):
    """No answer, or none of the API server itself: nothing is known, not even of a write."""


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: dict[str, Any] | None = None


_status_decoder = msgspec.json.Decoder(_Status)


def error_of(
    http_status: int, body: bytes | msgspec.Raw, what: str, retry_after: float | None = None
) -> ApiError:
    """The typed error for an answer of the server; ``what`` names the request."""
    try:
        status = _status_decoder.decode(body)
    except msgspec.MsgspecError:
        text = bytes(body[:500]).decode("utf-8", "replace").strip()
        status = _Status(message=text)
    code = http_status if http_status >= 400 else status.code
    details = status.details or {}
    if retry_after is None and details.get("retryAfterSeconds"):
        retry_after = float(details["retryAfterSeconds"])
    message = f"{what}: {status.message or status.reason or f'HTTP {code}'}"
    kind: type[ApiError] = ApiError
    if code == 409:
        kind = AlreadyExists if status.reason == "AlreadyExists" else Conflict
    elif code in (502, 503, 504) or status.reason in ("Timeout", "ServerTimeout"):
        kind = Unreachable
    else:
        kind = {
            400: Invalid,
            401: Unauthorized,
            403: Forbidden,
            404: NotFound,
            410: Gone,
            422: Invalid,
            429: TooManyRequests,
        }.get(code, ApiError)
    return kind(code, status.reason, message, details, retry_after)


def unreachable(what: str, error: BaseException) -> Unreachable:
    """The typed error for a network fault or a time-out of the request ``what``."""
    reason = "Timeout" if isinstance(error, TimeoutError) else "Unreachable"
    return Unreachable(0, reason, f"{what}: {str(error) or type(error).__name__}")
