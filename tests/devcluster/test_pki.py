"""The certificates, checked as a peer would check them."""

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from devcluster import pki, settings

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "pki"
    pki.create(folder)
    return folder


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


@pytest.mark.parametrize("name", [*pki.CLIENTS, *pki.SERVERS])
def test_each_is_signed_by_the_ca_and_valid_now(folder: Path, name: str) -> None:
    issued = certificate(folder, name)
    issued.verify_directly_issued_by(certificate(folder, "ca"))
    assert issued.not_valid_before_utc < datetime.now(UTC) < issued.not_valid_after_utc
    key = load_pem_private_key((folder / f"{name}.key").read_bytes(), password=None)
    assert key.public_key() == issued.public_key()


def test_only_the_ca_may_sign(folder: Path) -> None:
    signers = [
        path.stem
        for path in folder.glob("*.crt")
        if certificate(folder, path.stem).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    ]
    assert signers == ["ca"]


@pytest.mark.parametrize(("name", "subject"), pki.CLIENTS.items())
def test_clients_carry_user_and_group_and_cannot_serve(folder: Path, name: str, subject: pki.Subject) -> None:
    issued = certificate(folder, name)
    assert [a.value for a in issued.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [subject.user]
    groups = [a.value for a in issued.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert groups == ([subject.group] if subject.group else [])
    usage = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_api_server_serves_under_all_its_names(folder: Path) -> None:
    issued = certificate(folder, "apiserver-serving")
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "kubernetes.default.svc"} <= set(names.get_values_for_type(x509.DNSName))
    expected = {settings.LOOPBACK, settings.NODE_IP, settings.KUBERNETES_SERVICE_IP}
    assert set(map(ip_address, expected)) == set(names.get_values_for_type(x509.IPAddress))


def test_private_keys_are_private(folder: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}


def test_a_second_start_keeps_the_certificates(folder: Path) -> None:
    before = certificate(folder, "ca").serial_number
    pki.create(folder)
    assert certificate(folder, "ca").serial_number == before


def test_what_a_killed_start_left_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / ".pki.tmp"
    half.mkdir()
    (half / "ca.crt").write_text("half")
    pki.create(tmp_path / "pki")
    assert certificate(tmp_path / "pki", "ca").subject.rfc4514_string() == "CN=devcluster-ca"
    assert not half.exists()
