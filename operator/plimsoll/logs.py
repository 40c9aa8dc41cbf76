"""Logs: one JSON object a line, or text on a terminal; both name the object spoken of."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from plimsoll.settings import LogFormat

_QUIET = {"aiohttp.access": logging.WARNING, "asyncio": logging.WARNING, "kopf": logging.WARNING}
"""Loggers of libraries that tell too much of their own working."""


def configure(form: LogFormat, level: str, stream: TextIO = sys.stderr) -> None:
    """Sends all logs to ``stream``."""
    handler = logging.StreamHandler(stream)
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


class JsonFormatter(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``, and ``object`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record, "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        subject = object_of(record)
        if subject:
            line["object"] = subject
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``12:00:00 WARNING VMPool/a: message``."""

    def format(self, record: logging.LogRecord) -> str:
        subject = object_of(record)
        prefix = f"{subject}: " if subject else ""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        line = f"{moment} {record.levelname:<7} {prefix}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def object_of(record: logging.LogRecord) -> str:
    """``Kind/namespace/name`` of the object, given by us (``object``) or by kopf (``k8s_ref``)."""
    subject = getattr(record, "object", "")
    reference = getattr(record, "k8s_ref", None)
    if not subject and reference:
        parts = (reference.get("kind"), reference.get("namespace"), reference.get("name"))
        subject = "/".join(filter(None, parts))
    return str(subject)


def _time(record: logging.LogRecord, precision: str) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec=precision)
