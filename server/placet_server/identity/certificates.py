"""Who a client certificate says its owner is.

That it is good, TLS has made sure of when the connection was made.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

from placet_server.identity.principals import Kind, Principal
from placet_server.identity.refusals import CredentialsRefused, Refusal

_SPIFFE = "spiffe://"


def principal_of(pem: bytes) -> Principal:
    """Return whom a certificate names: by its SPIFFE id, or its DNS name, or its common name.

    Raises:
        CredentialsRefused: it cannot be read.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        name = _spiffe_id(certificate) or _dns_name(certificate) or _common_name(certificate)
    except ValueError as error:
        raise CredentialsRefused(Refusal.CERTIFICATE_UNNAMED, str(error)) from error
    return Principal(
        kind=Kind.CERTIFICATE,
        name=name,
        expires_s=certificate.not_valid_after_utc.timestamp(),
    )


def _alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _spiffe_id(certificate: x509.Certificate) -> str:
    alternatives = _alternatives(certificate)
    if alternatives is None:
        return ""
    uris = alternatives.get_values_for_type(x509.UniformResourceIdentifier)
    spiffe = [uri for uri in uris if uri.startswith(_SPIFFE)]
    # A SPIFFE certificate has exactly one URI (X.509-SVID, section 2); of several, none counts.
    if len(spiffe) > 1 or (spiffe and len(uris) > 1):
        raise ValueError(f"a SPIFFE id among several names: {uris}")
    return spiffe[0] if spiffe else ""


def _dns_name(certificate: x509.Certificate) -> str:
    alternatives = _alternatives(certificate)
    names = alternatives.get_values_for_type(x509.DNSName) if alternatives is not None else []
    return names[0] if names else ""


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""
