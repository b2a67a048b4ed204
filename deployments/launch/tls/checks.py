"""The content of a certificate and its private key: whether clients can use them."""

from __future__ import annotations

import logging
import stat
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deployments.launch.tls.certificate import UVICORN_OPTIONS, Certificate
from embedder.core.errors import ConfigurationError
from embedder.core.private_files import open_without_waiting

logger = logging.getLogger(__name__)

NEAR_END = timedelta(days=14)
"""A certificate that ends within this time is reported: it should have been renewed by then."""

MAX_BYTES = 2**20


def check_options(options: Mapping[str, Any], *, haproxy: bool) -> Certificate | None:
    """Check the options for TLS and their files, and return the files; None without TLS.

    Warns of a certificate that ends soon, and of a private key that every user may read.

    Raises:
        ConfigurationError: as `Certificate.of_options` and `check`; or HAProxy answers clients and
            an option is for uvicorn.
    """
    certificate = Certificate.of_options(options)
    if certificate is None:
        return None
    for name in UVICORN_OPTIONS:
        if haproxy and options.get(name):
            raise ConfigurationError(
                f"http_options.{name} is set, which HAProxy does not use: leave it out, or leave "
                "HAProxy out with --plain"
            )
    ends = check(certificate)
    if ends - datetime.now(timezone.utc) < NEAR_END:
        logger.warning("warning: %s ends at %s", certificate.certificate, _shown(ends))
    if certificate.key.stat().st_mode & stat.S_IROTH:
        logger.warning("warning: every user of this machine may read %s", certificate.key)
    return certificate


def check(certificate: Certificate, now: datetime | None = None) -> datetime:
    """Check that clients can use a certificate at present; return when it ends.

    Raises:
        ConfigurationError: as `pem`; or a certificate has ended, or is not valid yet.
    """
    pem(certificate)
    now = now or datetime.now(timezone.utc)
    chain = x509.load_pem_x509_certificates(_read(certificate.certificate))
    for number, one in enumerate(chain, start=1):
        place = f"{certificate.certificate}: certificate {number} of {len(chain)}"
        if now >= one.not_valid_after_utc:
            raise ConfigurationError(f"{place} ended at {_shown(one.not_valid_after_utc)}")
        if now < one.not_valid_before_utc:
            raise ConfigurationError(
                f"{place} is not valid before {_shown(one.not_valid_before_utc)}; this machine's "
                f"clock says {_shown(now)}"
            )
    return min(one.not_valid_after_utc for one in chain)


def pem(certificate: Certificate) -> bytes:
    """Return the certificates and the key in PEM; their dates are not checked.

    Raises:
        ConfigurationError: a file cannot be read or is not PEM, a key is of an unknown kind, the
            private one has another or no password, or is not that of the first certificate.
    """
    certificates, key = _read(certificate.certificate), _read(certificate.key)
    try:
        leaf = x509.load_pem_x509_certificates(certificates)[0]
    except ValueError:
        raise ConfigurationError(f"{certificate.certificate} has no certificate in PEM") from None
    password = None if certificate.password is None else certificate.password.encode()
    try:
        private = serialization.load_pem_private_key(key, password)
    except (TypeError, UnsupportedAlgorithm) as error:  # a password is missing, or is not needed
        raise ConfigurationError(f"{certificate.key}: {error}") from None
    except ValueError:
        opened = " that the password opens" if password else ""
        raise ConfigurationError(f"{certificate.key} has no private key in PEM{opened}") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        certified = leaf.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"{certificate.certificate} has a key of an unknown kind"
        ) from None
    if private.public_key().public_bytes(*form) != certified:
        raise ConfigurationError(
            f"{certificate.key} is not the key of the first certificate in "
            f"{certificate.certificate}"
        )
    return certificates if certificates == key else certificates.rstrip() + b"\n" + key


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            return file.read(MAX_BYTES) or b""  # None: a pipe whose writer has written nothing
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
