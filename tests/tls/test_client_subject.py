"""The subject of a client's certificate on its way to a backend."""

from app.tls.client_subject import subject


def test_a_subject_cannot_end_its_field() -> None:
    certificate: dict[str, object] = {"subject": ((("commonName", "a\r\nX: ü"),),)}
    assert subject(certificate) == b"CN=a\\0d\\0aX: \\c3\\bc"
