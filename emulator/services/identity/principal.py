"""The emulator's service principal: secret, certificate and the workload that may act for it.

Keys are made once and kept in the state folder. Source: Microsoft's identity platform, "OAuth 2.0
client credentials flow", "Certificate credentials", "Workload identity federation".
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from emulator.configuration import Configuration

CERTIFICATE, WORKLOAD_KEY, WORKLOAD_TOKEN = "client.pem", "workload-key.pem", "workload.jwt"
EXCHANGE = "api://AzureADTokenExchange"
SUBJECT = "system:serviceaccount:default:emulated"
YEARS = 10


def issuer(config: Configuration) -> str:
    """Who signs the workload's tokens: a cluster's OpenID issuer."""
    return f"https://oidc.{config.suffix}"


def certificate_file(config: Configuration) -> Path:
    """The principal's private key and certificate, as azure-identity reads them (PEM)."""
    file = config.state / CERTIFICATE
    if not file.exists():
        _write(file, _private(key := _new_key()) + _certificate(key))
    return file


def certificate_key(config: Configuration) -> Any:
    """The public key of the principal's certificate."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate_file(config).read_bytes()).public_key()


def workload_key(config: Configuration) -> Any:
    """The private key with which the workload's issuer signs."""
    from cryptography.hazmat.primitives import serialization

    file = config.state / WORKLOAD_KEY
    if not file.exists():
        _write(file, _private(_new_key()))
    return serialization.load_pem_private_key(file.read_bytes(), None)


def workload_token_file(config: Configuration, now: float) -> Path:
    """A fresh token of the workload, in the file that its platform would have put there."""
    import jwt

    claims = {
        "iss": issuer(config),
        "sub": SUBJECT,
        "aud": EXCHANGE,
        "iat": int(now),
        "exp": int(now + config.token_lifetime_s),
    }
    file = config.state / WORKLOAD_TOKEN
    _write(file, jwt.encode(claims, workload_key(config), algorithm="RS256").encode())
    return file


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _private(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem


def _certificate(key: Any) -> bytes:
    """The principal's self-signed certificate, as a registered application has."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulated-principal")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def _write(file: Path, content: bytes) -> None:
    """All at once, for the owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.touch(mode=0o600)
    part.write_bytes(content)
    part.replace(file)
