"""
Which TLS the service agrees to: its versions and its cipher suites, whatever a client would rather have.

The contexts meet in memory: no client library of ours offers what is refused here. OWASP ASVS 5.0, V12.1.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

import certificates
from ibt.service.server import Settings, tls

#: All that OpenSSL knows, those without a cipher too.
EVERY_SUITE = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"

#: A handshake takes fewer turns than this, or never ends.
TURNS = 10

KEYS: dict[str, Callable[[], certificates.Key]] = {"P-256": certificates.p256, "RSA": certificates.rsa_2048}


@pytest.fixture(scope="module", params=KEYS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """What the service makes of its settings, with a certificate of each kind of key."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = certificates.root("The authority", folder)
    authority.write(folder / "ca-key.pem", folder / "ca.pem")
    issued = authority.client("localhost", key=KEYS[request.param](), usages=(certificates.SERVER,))
    return tls(Settings("sqlite://", issued.pem, folder / "ca.pem"))


def client(suites: str, version: ssl.TLSVersion | None = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """A client that offers these suites, in this order, under one version or under all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(suites)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def agreed(served: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str] | None:
    """The suite and the version that a client gets; None where the handshake does not come to an end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_side=False),
        served.wrap_bio(to_server, to_client, server_side=True),
    )
    done = set()
    for number in [0, 1] * TURNS:
        try:
            ends[number].do_handshake()
            done.add(number)
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return None
    suite = ends[1].cipher()
    return (suite[0], suite[1]) if suite and len(done) == 2 else None


def test_every_suite_has_a_key_of_its_own_for_each_connection(served: ssl.SSLContext) -> None:
    offered = [each["name"] for each in client(EVERY_SUITE).get_ciphers() if each["protocol"] != "TLSv1.3"]
    assert {"AES256-GCM-SHA384", "AES128-SHA", "ECDHE-RSA-AES256-SHA"} <= set(offered)
    taken = [name for name in offered if agreed(served, client(f"{name}:@SECLEVEL=0"))]
    assert taken
    assert [
        name for name in taken if not re.fullmatch("ECDHE-.*(GCM-SHA256|GCM-SHA384|CHACHA20-POLY1305)", name)
    ] == []


def test_the_newest_version_and_the_servers_first_suite_are_taken(served: ssl.SSLContext) -> None:
    weakest_first = "ECDHE+AES128:ECDHE+AES256"
    assert agreed(served, client(weakest_first, None)) == ("TLS_AES_256_GCM_SHA384", "TLSv1.3")
    suite = agreed(served, client(weakest_first))
    assert suite is not None
    assert suite[0].endswith("AES256-GCM-SHA384")
