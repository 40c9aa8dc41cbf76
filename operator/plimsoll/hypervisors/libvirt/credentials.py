"""Credentials as libvirt reads them: files in a private directory, named in the URI."""

from __future__ import annotations

import shlex
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from plimsoll.hypervisors.contract import Invalid

SSH_KEY: Final = "ssh-privatekey"
"""As in Secrets of the type kubernetes.io/ssh-auth."""
KNOWN_HOSTS: Final = "known_hosts"
TLS_FILES: Final = {
    "ca.crt": "cacert.pem",
    "tls.crt": "clientcert.pem",
    "tls.key": "clientkey.pem",
    "cacert.pem": "cacert.pem",
    "clientcert.pem": "clientcert.pem",
    "clientkey.pem": "clientkey.pem",
}
"""Keys of the Secret, as in kubernetes.io/tls or as libvirt has them, and libvirt's file names."""
_SSH_SCHEMES: Final = ("qemu+ssh", "qemu+libssh", "qemu+libssh2")


class Credentials:
    """The files, and the URIs that name them; ``close`` removes them.

    The SSH command is wrapped: libvirt hands OpenSSH neither a known-hosts file
    nor a time-out, and without these a host is not authenticated, or hangs.
    """

    def __init__(self, secret: Mapping[str, bytes], timeout: float) -> None:
        self._directory: Path | None = None
        self._secret = dict(secret)
        self._timeout = max(1, int(timeout))

    def uri(self, uri: str) -> str:
        """The URI with the parameters that its transport needs. A person's own stay.

        Raises:
            Invalid: the Secret lacks what this transport needs.
        """
        scheme = urlsplit(uri).scheme
        if scheme in _SSH_SCHEMES:
            return _with(uri, self._ssh(uri, scheme))
        if scheme == "qemu+tls" and self._secret:
            return _with(uri, self._tls(uri))
        return uri

    def close(self) -> None:
        """Removes the files."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _ssh(self, uri: str, scheme: str) -> dict[str, str]:
        found = {"no_tty": "1"}
        if self._secret:
            for key in (SSH_KEY, KNOWN_HOSTS):
                if key not in self._secret:
                    raise Invalid(
                        f"{uri}: the Secret has no key {key!r}: add it, as nothing else tells "
                        "who is who over SSH"
                    )
            found["keyfile"] = str(self._write("ssh-key", _text(self._secret[SSH_KEY])))
        known = None
        if KNOWN_HOSTS in self._secret:
            known = self._write("known_hosts", _text(self._secret[KNOWN_HOSTS]))
        if scheme == "qemu+ssh":
            found["command"] = str(self._wrapper(known))
        elif known is not None:
            found |= {"known_hosts": str(known), "known_hosts_verify": "normal"}
            found["sshauth"] = "privkey"
        return found

    def _tls(self, uri: str) -> dict[str, str]:
        files = {TLS_FILES[key]: value for key, value in self._secret.items() if key in TLS_FILES}
        missing = sorted(set(TLS_FILES.values()) - set(files))
        if missing:
            raise Invalid(
                f"{uri}: the Secret lacks {' and '.join(missing)}: TLS needs the keys cacert.pem, "
                "clientcert.pem and clientkey.pem (or ca.crt, tls.crt and tls.key)"
            )
        for name, content in files.items():
            self._write(name, content)
        return {"pkipath": str(self._home())}

    def _wrapper(self, known_hosts: Path | None) -> Path:
        options = [
            "BatchMode=yes",
            f"ConnectTimeout={self._timeout}",
            f"ServerAliveInterval={max(1, self._timeout // 3)}",
            "ServerAliveCountMax=3",
            "StrictHostKeyChecking=yes",
        ]
        if known_hosts is not None:
            options += [f"UserKnownHostsFile={known_hosts}", "GlobalKnownHostsFile=/dev/null"]
        words = " ".join(f"-o {shlex.quote(option)}" for option in options)
        script = f'#!/bin/sh\nexec ssh {words} "$@"\n'
        return self._write("ssh", script.encode(), executable=True)

    def _home(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="plimsoll-libvirt-"))
        return self._directory

    def _write(self, name: str, content: bytes, *, executable: bool = False) -> Path:
        path = self._home() / name
        path.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
        path.write_bytes(content)
        path.chmod(stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if executable else 0))
        return path


def _text(content: bytes) -> bytes:
    # OpenSSH refuses a private key without its last newline, which editors of Secrets lose.
    return content if content.endswith(b"\n") else content + b"\n"


def _with(uri: str, parameters: Mapping[str, str]) -> str:
    parts = urlsplit(uri)
    own = dict(parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit(parts._replace(query=urlencode({**parameters, **own})))
