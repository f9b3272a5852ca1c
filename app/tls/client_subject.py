"""The subject of a client's certificate, as one field value. Pure."""

from __future__ import annotations

from collections.abc import Iterable

_SHORT = {
    "commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU",
    "countryName": "C", "localityName": "L", "stateOrProvinceName": "ST",
    "domainComponent": "DC", "userId": "UID", "emailAddress": "E",
}  # fmt: skip


def subject(certificate: dict[str, object] | None) -> bytes | None:
    r"""The subject of a verified client certificate as one field value (RFC 4514), or None.

    >>> subject({"subject": ((("organizationName", "A, B"),), (("commonName", "x"),))})
    b'CN=x,O=A\\, B'
    """
    if not certificate:
        return None
    parts: list[str] = []
    names: Iterable[Iterable[tuple[str, str]]] = certificate.get("subject", ())  # type: ignore[assignment]
    for relative in names:
        parts.append("+".join(f"{_SHORT.get(name, name)}={_escaped(v)}" for name, v in relative))
    return ",".join(reversed(parts)).encode("ascii")


def _escaped(value: str) -> str:
    """ASCII without control characters; all else as backslashes and the bytes of its UTF-8."""
    text = "".join(
        f"\\{char}"
        if char in ',+"\\<>;='
        else char
        if " " <= char <= "~"
        else "".join(f"\\{byte:02x}" for byte in char.encode())
        for char in value
    )
    return f"\\{text}" if text.startswith((" ", "#")) else text
