"""A certificate that clients could not use is refused before the service starts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from deployments.launch.tls.certificate import CERTIFICATE_VARIABLE, KEY_VARIABLE, Certificate
from deployments.launch.tls.checks import NEAR_END, check, check_options, pem
from embedder.core.errors import ConfigurationError
from tests.private_ca import HOUR, PrivateCA

UNKNOWN_CURVE = (
    "MIIBITCB7KADAgECAhQlcRvsXMcZ7ZVUsKTd9vYa1nPI4jAKBggqhkjOPQQDAjAMMQowCAYDVQQDDAF4MB4X"
    "DTI2MTEzMDIxMTQxM1oXDTI2MTIwMzIxMTQxM1owDDEKMAgGA1UEAwwBeDAyMBAGByqGSM49AgEGBSuBBAAG"
    "Ax4ABIkVSMRw+yDw39DOqSSbz6XYHSG0CdYQv+5EBTSjUzBRMB0GA1UdDgQWBBQ4Zc+UekRd7AyPAZkAwzF4"
    "NEpayDAfBgNVHSMEGDAWgBQ4Zc+UekRd7AyPAZkAwzF4NEpayDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49"
    "BAMCAyQAMCECDwCqYHkhsLOZ7tvg8WZviQIODTGYlcGsvIZjxPX1yEw="
)
"""A certificate on the curve secp112r1, which the library does not know, without its PEM lines."""

KEY_OF_UNKNOWN_CURVE = (
    "MD4CAQEEDl/OySnnz+kZqny8UjzpoAcGBSuBBAAGoSADHgAEiRVIxHD7IPDf0M6pJJvPpdgdIbQJ1hC/7kQFNA=="
)


@pytest.fixture
def authority(tmp_path: Path) -> PrivateCA:
    return PrivateCA(tmp_path / "ca")


def refusal(certificate: Certificate) -> str:
    with pytest.raises(ConfigurationError) as refused:
        check(certificate)
    return str(refused.value)


def test_a_good_pair_is_accepted_until_its_end(authority: PrivateCA) -> None:
    good = authority.issue("good", ends=24 * HOUR)
    ends = check(good)

    assert timedelta(hours=23) < ends - datetime.now(timezone.utc) <= timedelta(hours=24)
    check(good, ends - timedelta(seconds=1))
    with pytest.raises(ConfigurationError, match=r"good.pem: certificate 1 of 1 ended at .* UTC"):
        check(good, ends)


def test_one_that_is_not_valid_yet_is_refused_with_the_clock(authority: PrivateCA) -> None:
    message = refusal(authority.issue("early", begins=HOUR))

    assert "is not valid before" in message
    assert "clock" in message


def test_a_chain_is_good_as_long_as_all_of_it(authority: PrivateCA) -> None:
    leaf, old = authority.issue("leaf"), authority.issue("old", begins=-2 * HOUR, ends=-HOUR)
    leaf.certificate.write_bytes(leaf.certificate.read_bytes() + authority.certificate.read_bytes())
    check(leaf)
    leaf.certificate.write_bytes(leaf.certificate.read_bytes() + old.certificate.read_bytes())

    assert "certificate 3 of 3 ended" in refusal(leaf)


def test_the_key_must_be_that_of_the_first_certificate(authority: PrivateCA) -> None:
    one, two = authority.issue("one"), authority.issue("two")

    assert refusal(Certificate(one.certificate, two.key)) == (
        f"{two.key} is not the key of the first certificate in {one.certificate}"
    )
    one.certificate.write_bytes(two.certificate.read_bytes() + one.certificate.read_bytes())
    assert "is not the key of the first" in refusal(one)


def test_missing_and_wrong_files_are_named(authority: PrivateCA, tmp_path: Path) -> None:
    good, none, text = authority.issue("good"), tmp_path / "none", tmp_path / "text"
    text.write_text("-----BEGIN NOTHING-----")

    assert (
        refusal(Certificate(none, good.key)) == f"{none} cannot be read: No such file or directory"
    )
    assert refusal(Certificate(good.certificate, none)).startswith(f"{none} cannot be read")
    assert refusal(Certificate(tmp_path, good.key)) == f"{tmp_path} cannot be read: Is a directory"
    assert refusal(Certificate(text, good.key)) == f"{text} has no certificate in PEM"
    assert refusal(Certificate(good.key, good.key)) == f"{good.key} has no certificate in PEM"
    assert refusal(Certificate(good.certificate, text)) == f"{text} has no private key in PEM"


def test_keys_of_an_unknown_kind_are_refused(authority: PrivateCA) -> None:
    """Another exception would end the process that renews HAProxy's certificate."""
    pair, good = authority.issue("unknown"), authority.issue("good")
    pair.certificate.write_text(_in_pem("CERTIFICATE", UNKNOWN_CURVE))
    pair.key.write_text(_in_pem("EC PRIVATE KEY", KEY_OF_UNKNOWN_CURVE))

    assert "not supported" in refusal(Certificate(good.certificate, pair.key))
    assert (
        refusal(Certificate(pair.certificate, good.key))
        == f"{pair.certificate} has a key of an unknown kind"
    )


def _in_pem(kind: str, content: str) -> str:
    return f"-----BEGIN {kind}-----\n{content}\n-----END {kind}-----\n"


def test_a_password_opens_the_key(authority: PrivateCA) -> None:
    closed = authority.issue("closed", password="open sésame")
    check(closed)

    assert "Password was not given" in refusal(Certificate(closed.certificate, closed.key))
    wrong = refusal(Certificate(closed.certificate, closed.key, "wrong"))
    assert wrong == f"{closed.key} has no private key in PEM that the password opens"


def test_one_file_may_hold_both(authority: PrivateCA) -> None:
    pair = authority.issue("pair")
    pair.certificate.write_bytes(pem(pair))
    both = Certificate(pair.certificate, pair.certificate)
    check(both)

    assert pem(both) == pair.certificate.read_bytes()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ssl_certfile": "/c"}, "http_options.ssl_keyfile is missing"),
        ({"ssl_keyfile": "/k"}, "http_options.ssl_certfile is missing"),
        (
            {"ssl_certfile": "c", "ssl_keyfile": "/k"},
            "ssl_certfile is 'c': must be an absolute path",
        ),
        ({"ssl_keyfile_password": "x"}, "ssl_keyfile_password is set, but"),
        ({"ssl_ca_certs": "/ca"}, "ssl_ca_certs is set, but"),
        (
            {"ssl_certfile": "/c", "ssl_keyfile": "/k", "ssl_keyfile_password": 1234},
            "ssl_keyfile_password must be a text: put it in quotes$",
        ),
    ],
)
def test_options_that_would_be_ignored_or_are_wrong_are_refused(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Certificate.of_options(options)


def test_the_files_are_named_by_options_or_by_variables() -> None:
    options = {"ssl_certfile": "/c", "ssl_keyfile": "/k", "host": "0.0.0.0"}
    named = Certificate.of_options(options)
    assert named == Certificate(Path("/c"), Path("/k"))
    assert Certificate.of_environment(named.variables) == named
    assert Certificate.of_options({"host": "::"}) is Certificate.of_environment({}) is None
    with pytest.raises(ConfigurationError, match=f"{KEY_VARIABLE} is missing"):
        Certificate.of_environment({CERTIFICATE_VARIABLE: "/c"})


def _options(certificate: Certificate) -> dict[str, str]:
    return {"ssl_certfile": str(certificate.certificate), "ssl_keyfile": str(certificate.key)}


@pytest.mark.parametrize(("mode", "readable"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_key_that_everybody_may_read_is_reported(
    authority: PrivateCA, mode: int, readable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.issue("pair", ends=2 * NEAR_END)
    pair.key.chmod(mode)
    assert check_options(_options(pair), haproxy=True) == pair

    assert (
        caplog.messages == [f"warning: every user of this machine may read {pair.key}"] * readable
    )


def test_a_certificate_that_ends_soon_is_reported(
    authority: PrivateCA, caplog: pytest.LogCaptureFixture
) -> None:
    for name, ends in (("late", NEAR_END + HOUR), ("soon", NEAR_END - HOUR)):
        check_options(_options(authority.issue(name, ends=ends)), haproxy=False)

    (message,) = caplog.messages
    assert "soon.pem ends at" in message


def test_haproxy_has_no_use_for_options_of_uvicorn(authority: PrivateCA) -> None:
    closed = authority.issue("closed", password="a")
    options = {**_options(closed), "ssl_keyfile_password": "a"}
    assert check_options(options, haproxy=False) == closed
    with pytest.raises(ConfigurationError, match="ssl_keyfile_password is set, which HAProxy"):
        check_options(options, haproxy=True)
    with pytest.raises(ConfigurationError, match="ssl_ca_certs is set, which HAProxy"):
        check_options({**_options(closed), "ssl_ca_certs": "/ca"}, haproxy=True)
    assert check_options({}, haproxy=True) is None
