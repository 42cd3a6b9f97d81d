"""Requests in one body, and the answers to them."""

from __future__ import annotations

from email.parser import BytesParser

import pytest

from lading.stores.blobs.batches import batch, statuses

AZURE = (
    b"--batchresponse_1\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\n"
    b"HTTP/1.1 202 Accepted\r\nx-ms-delete-type-permanent: true\r\n\r\n"
    b"--batchresponse_1\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\n"
    b"HTTP/1.1 404 The specified blob does not exist.\r\nContent-Length: 5\r\n\r\nabcde\r\n"
    b"--batchresponse_1--\r\n"
)
GOOGLE = (
    b"--batch_x\r\nContent-Type: application/http\r\nContent-ID: <response-lading+7>\r\n\r\n"
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n\r\n"
    b"--batch_x\r\nContent-Type: application/http\r\nContent-ID: <response-lading+2>\r\n\r\n"
    b"HTTP/1.1 204 No Content\r\n\r\n\r\n--batch_x--"
)


def test_requests_are_parts_of_one_body() -> None:
    kind, body = batch(
        [("DELETE", "https://host/a%2Fb?x=1", {"Authorization": "me"}), ("DELETE", "https://host/c", {})]
    )
    whole = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    assert [
        (part["Content-ID"], part.get_payload(decode=True)) for part in whole.walk() if not part.is_multipart()
    ] == [
        ("0", b"DELETE /a%2Fb?x=1 HTTP/1.1\r\nAuthorization: me\r\nContent-Length: 0\r\n\r\n"),
        ("1", b"DELETE /c HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    ]


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("multipart/mixed; boundary=batchresponse_1", AZURE, {0: 202, 1: 404}),
        ("multipart/mixed; boundary=batch_x", GOOGLE, {7: 503, 2: 204}),
        ("multipart/mixed; boundary=batch_x", GOOGLE[:190], {7: 503}),
        ("multipart/mixed", GOOGLE, {}),
        ("multipart/mixed; boundary=other", GOOGLE, {}),
        ("multipart/mixed; boundary=batch_x", GOOGLE.replace(b"HTTP/1.1", b"nonsense"), {}),
        ("application/json", b'{"error": 1}', {}),
        ("", b"\xff\x00", {}),
        ("multipart/mixed; boundary=\N{SNOWMAN}", GOOGLE, {}),
    ],
)
def test_what_cannot_be_read_is_no_answer(kind: str, body: bytes, told: dict[int, int]) -> None:
    assert statuses(kind, body) == told
