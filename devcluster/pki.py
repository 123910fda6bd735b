"""Certificates of one cluster: a CA, what it signs, and the key pair of the service accounts."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from devcluster import files, settings

VALIDITY = timedelta(days=365)


@dataclass(frozen=True)
class Subject:
    """Who a certificate names: the user (CN), its group (O), and the names it may serve under."""

    user: str
    group: str = ""
    served: tuple[str, ...] = ()


LOCAL = ("localhost", settings.LOOPBACK)
API_SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{settings.CLUSTER_DOMAIN}",
    settings.KUBERNETES_SERVICE_IP,
    settings.NODE_IP,
)

CLIENTS = {
    "admin": Subject("admin", "system:masters"),
    "kube-controller-manager": Subject("system:kube-controller-manager"),
    "kube-scheduler": Subject("system:kube-scheduler"),
    "kubelet": Subject(f"system:node:{settings.NODE_NAME}", "system:nodes"),
    "kube-proxy": Subject("system:kube-proxy"),
    "apiserver-to-kubelet": Subject("kube-apiserver", "system:masters"),
}
SERVERS = {
    "apiserver-serving": Subject("kube-apiserver", served=(*LOCAL, *API_SERVER_NAMES)),
    "local-serving": Subject("local", served=LOCAL),
    "kubelet-serving": Subject(settings.NODE_NAME, served=(settings.NODE_NAME, settings.NODE_IP, *LOCAL)),
}


def create(folder: Path) -> None:
    """Makes ``ca``, every client and server above (NAME.crt, NAME.key) and ``service-accounts.key/.pub``.

    The folder appears whole or not at all; an existing one is left as it is.
    """
    if folder.exists():
        return
    building = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate(Subject("devcluster-ca"), ca_key.public_key(), None, ca_key)
    _write_pair(building, "ca", ca, ca_key)
    for name, subject in {**CLIENTS, **SERVERS}.items():
        key = ec.generate_private_key(ec.SECP256R1())
        _write_pair(building, name, _certificate(subject, key.public_key(), ca, ca_key), key)
    signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    files.write(building / "service-accounts.key", _private_pem(signing), 0o600)
    public = signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files.write(building / "service-accounts.pub", public)
    building.rename(folder)


def _certificate(
    subject: Subject,
    public_key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate | None,
    ca_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    name = _name(subject)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(ca.subject if ca else name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if ca:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if subject.served else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if subject.served:
        names = [_general_name(served) for served in subject.served]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _name(subject: Subject) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject.user)]
    if subject.group:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.group))
    return x509.Name(attributes)


def _general_name(served: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(served))
    except ValueError:
        return x509.DNSName(served)


def _write_pair(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    files.write(folder / f"{name}.crt", certificate.public_bytes(Encoding.PEM))
    files.write(folder / f"{name}.key", _private_pem(key), 0o600)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
