"""Client certificates with whatever names a test wants, of one authority."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.server import RegistryServer


class ClientAuthority:
    """Issues certificates to clients; ``ca`` is the PEM file of the authority itself."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        made = trustme.CA()
        self.ca = directory / "clients.pem"
        made.cert_pem.write_to_path(str(self.ca))
        self._certificate = x509.load_pem_x509_certificate(made.cert_pem.bytes())
        key = load_pem_private_key(made.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def issue(
        self, common: str = "client", *, emails: Sequence[str] = (), uris: Sequence[str] = (), server: bool = False
    ) -> Path:
        """A folder with ``client.cert`` and ``client.key``, as the certs.d of docker and podman; good for a day."""
        key, moment = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - timedelta(hours=1))
            .not_valid_after(moment + timedelta(days=1))
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        names = [*map(x509.RFC822Name, emails), *map(x509.UniformResourceIdentifier, uris)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        folder = self._directory / f"client-{len(list(self._directory.iterdir()))}"
        folder.mkdir()
        made = builder.sign(self._key, hashes.SHA256())
        (folder / "client.cert").write_bytes(made.public_bytes(Encoding.PEM))
        (folder / "client.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        return folder


def shown(server: RegistryServer, folder: Path) -> ssl.SSLContext:
    """What httpx2 takes as ``verify`` to trust a server and show it a certificate."""
    context = ssl.create_default_context(cafile=str(server.ca))
    context.load_cert_chain(folder / "client.cert", folder / "client.key")
    return context
