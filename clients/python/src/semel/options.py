"""Where the server is, and how it is called."""

from __future__ import annotations

import ipaddress
import os
import pathlib
import time
import urllib.parse
from dataclasses import dataclass, field, replace

from semel.errors import refused
from semel.failure import Meaning

_TOKEN_AGE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a client is made with. Lengths of time are seconds; None takes the variable, then the default."""

    address: str | None = None
    """https:// or http://, or host:port, which is http://. SEMEL_SERVER, else http://127.0.0.1:7400."""
    tenant: str | None = None
    """SEMEL_TENANT, else "default"; "" is the one of the credential."""
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    """Read again when it may have changed."""
    insecure_token: bool = False
    """Lets a token go unencrypted to somewhere else than this machine."""
    timeout: float = 10.0
    """For one call, all its sends together; a wait is on top."""
    try_timeout: float = 3.0
    """For one send; a wait is on top."""
    report_timeout: float = 10.0
    """For Complete and Abort of once."""
    connections: int = 2
    on_unexpected: Meaning | str = Meaning.UNKNOWN
    """What an error of the work means that says nothing of itself."""

    def filled(self) -> Options:
        """Put variables and defaults where nothing is said, and refuse what does not go together."""
        env = os.environ.get
        address = self.address or env("SEMEL_SERVER") or "http://127.0.0.1:7400"
        made = replace(
            self,
            address=address if "://" in address else f"http://{address}",
            tenant=env("SEMEL_TENANT", "default") if self.tenant is None else self.tenant,
            tls_ca=self.tls_ca or env("SEMEL_TLS_CA") or None,
            tls_cert=self.tls_cert or env("SEMEL_TLS_CERT") or None,
            tls_key=self.tls_key or env("SEMEL_TLS_KEY") or None,
            token_file=None if self.token else self.token_file or env("SEMEL_TOKEN_FILE") or None,
            on_unexpected=Meaning(self.on_unexpected),
        )
        made._check()
        return made

    def _check(self) -> None:
        if min(self.timeout, self.try_timeout, self.report_timeout) <= 0 or self.connections < 1:
            raise refused("OPTIONS", "timeouts are more than 0, and there is at least one connection")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise refused("TLS", "a client's certificate needs both its file and its key's")
        try:
            url = urllib.parse.urlsplit(self.address or "")
            host, _ = url.hostname or "", url.port
        except ValueError:
            raise refused("ADDRESS", "the address has no port that could be one") from None
        besides = url.query or url.fragment or url.username is not None
        if url.scheme not in ("http", "https") or not host or url.path not in ("", "/") or besides:
            raise refused("ADDRESS", "the address is neither https://host:port nor http://host:port")
        if self.token and not _is_token(self.token):
            raise refused("TOKEN", "a token is printable ASCII without spaces")
        if url.scheme == "https":
            for file in (self.tls_ca, self.tls_cert, self.tls_key):
                read_pem(file)
            return
        if self.tls_ca or self.tls_cert:
            raise refused("ADDRESS", "certificates are of use for https:// alone")
        if (self.token or self.token_file) and not self.insecure_token and not _is_loopback(host):
            raise refused("ADDRESS", "a token over http:// can be read on the way: use https://, or insecure_token")


def read_pem(file: str | None) -> bytes | None:
    """Read what a file of certificates or of a key holds."""
    try:
        return pathlib.Path(file).read_bytes() if file else None
    except OSError:
        raise refused("TLS", f"the file cannot be read: {file}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Token:
    """A bearer token, read again when its file may have changed."""

    def __init__(self, options: Options) -> None:
        self._file = options.token_file
        self._read = time.monotonic()
        self._token = _read_token(self._file) if self._file else options.token or ""

    def forget(self) -> None:
        """Have the file read again at the next call."""
        self._read = -_TOKEN_AGE

    def bearer(self) -> str:
        """Give the token. One that cannot be read now is as it was: its file may be half written."""
        if self._file and time.monotonic() - self._read > _TOKEN_AGE:
            self._read = time.monotonic()
            try:
                self._token = _read_token(self._file)
            except Exception:
                return self._token
        return self._token


def _is_token(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and text != ""


def _read_token(file: str) -> str:
    try:
        token = pathlib.Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise refused("TOKEN_FILE", f"the token's file cannot be read: {file}") from None
    if not _is_token(token):
        raise refused("TOKEN_FILE", f"the file does not hold one token, and nothing else: {file}")
    return token
