"""Settings from variables and options, and logs that name the object."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from plimsoll.explain.question import Question
from plimsoll.logs import JsonFormatter, TextFormatter
from plimsoll.settings import Settings, SettingsError


def test_options_go_before_variables_and_those_before_defaults() -> None:
    environ = {"PLIMSOLL_NAMESPACE": "from-variable", "PLIMSOLL_HTTP_PORT": "9000"}
    settings = Settings.load(environ, namespace="from-option", context=None)
    assert (settings.namespace, settings.http_port) == ("from-option", 9000)
    assert (settings.debounce, settings.context) == (0.2, None)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"PLIMSOLL_HTTP_PORT": "many"}, "PLIMSOLL_HTTP_PORT is 'many': write a number"),
        ({"PLIMSOLL_DEBOUNCE": "3"}, "between 0 and 0.5"),
        ({"PLIMSOLL_LOG_FORMAT": "xml"}, "write auto, json or text"),
        ({"PLIMSOLL_METRICS_INTERVAL": "0"}, "greater than zero"),
    ],
)
def test_bad_settings_are_refused_with_what_to_write(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load(environ)
    assert told in str(refused.value)


def logged(formatter: logging.Formatter, **extra: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("plimsoll.test")
    logger.addHandler(handler)
    logger.warning("took %d s", 3, extra=extra)
    return stream.getvalue().strip()


def test_a_log_line_is_one_json_object_that_names_the_object() -> None:
    line = json.loads(logged(JsonFormatter(), object="VMPool/web"))
    assert line["time"].endswith("+00:00")
    del line["time"]
    assert line == {
        "level": "warning",
        "logger": "plimsoll.test",
        "message": "took 3 s",
        "object": "VMPool/web",
    }


def test_objects_of_the_framework_are_named_too() -> None:
    reference = {"kind": "VMNode", "name": "web-1"}
    assert json.loads(logged(JsonFormatter(), k8s_ref=reference))["object"] == "VMNode/web-1"
    assert logged(TextFormatter(), k8s_ref=reference).endswith("WARNING VMNode/web-1: took 3 s")


def test_an_exception_is_part_of_the_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("l", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    assert "ValueError: broken" in json.loads(JsonFormatter().format(record))["exception"]


@pytest.mark.parametrize(
    ("text", "concern"),
    [
        ("httpd", "workload/here/httpd"),
        ("shop/httpd", "workload/shop/httpd"),
        ("cw/httpd", "workload/here/httpd"),
        ("vmpool/web", "vmpool/web"),
        ("vmp/web", "vmpool/web"),
    ],
)
def test_what_is_to_be_explained(text: str, concern: str) -> None:
    assert Question.parse(text, "here").concern == concern
