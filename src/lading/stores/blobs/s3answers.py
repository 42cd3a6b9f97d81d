"""How S3 says no, and whether what it says it kept is what it was sent."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from typing import Any

from lading.errors import Unavailable

log = logging.getLogger(__name__)

PLAIN_ETAG = re.compile(r'"?([0-9a-f]{32})"?')
_HINTS = {
    "NoSuchBucket": "there is no such bucket: make it, or correct storage.s3.bucket",
    "InvalidAccessKeyId": "the store does not know storage.s3.accesskey",
    "SignatureDoesNotMatch": "storage.s3.secretkey is not that of the accesskey, or a proxy alters requests",
    "AccessDenied": "this identity may not do that: give it the rights the manual lists under object storage",
    "403": "this identity may not do that: give it the rights the manual lists under object storage",
    "RequestTimeTooSkewed": "the clocks of this machine and the store differ by more than the store allows",
    "PermanentRedirect": "the bucket is in another region: correct storage.s3.region",
    "301": "the bucket is in another region: correct storage.s3.region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: correct storage.s3.region",
}


class RefusedError(Exception):
    """The store said no; ``code`` is S3's word for it."""

    def __init__(self, response: Any) -> None:
        error = response.get("Error", {})
        self.code: str = error.get("Code", "")
        self.status: int = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        super().__init__(f"{self.code}: {error.get('Message', '')}"[:300])

    def told(self) -> Unavailable:
        """This as clients are told; the operator reads the hint in the log."""
        hint = _HINTS.get(self.code)
        if hint is not None:
            log.error("the object store refuses (%s); %s", self, hint)
            return Unavailable(f"the object store refuses: {hint}", retry_after=30)
        log.warning("the object store refuses: %s (status %d)", self, self.status)
        return Unavailable(f"the object store refuses for now: {self.code or self.status}")


def damaged() -> Unavailable:
    """For bytes that are not what was sent."""
    return Unavailable("the object store did not keep what it was sent; push the blob again", retry_after=1)


def compare_whole(key: str, etag: str, parts: Sequence[str]) -> None:
    """Likewise the etag of an object made from parts: the MD5 of their MD5s, and how many they are."""
    found = [PLAIN_ETAG.fullmatch(part) for part in parts]
    whole = re.fullmatch(r'"?([0-9a-f]{32})-(\d+)"?', etag)
    if whole is None or not all(found):
        return
    wanted = hashlib.md5(b"".join(bytes.fromhex(each[1]) for each in found if each), usedforsecurity=False).hexdigest()
    if (whole[1], int(whole[2])) != (wanted, len(parts)):
        log.error("the store put %s together from other parts than it was told to: %s", key, etag)
        raise damaged()
