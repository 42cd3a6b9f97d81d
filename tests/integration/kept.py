"""Servers that are given bad input, and the content in them that must come through it unharmed."""

from __future__ import annotations

from dataclasses import dataclass

from tests.integration.wire import Wire
from tests.support import images
from tests.support.http import Client
from tests.support.server import RegistryServer

NAME = "kept/safe"
FAILURES = ("Traceback", "level=error", "level=fatal", "Fatal error", "was never retrieved")


@dataclass
class Kept:
    """An image that was pushed before the bad input."""

    server: RegistryServer
    image: images.Image
    looked_at: int = 0

    def check(self) -> None:
        """The server serves it byte for byte, and its log tells of no failure since it was last looked at."""
        expected = {f"blobs/{blob.digest}": blob.data for blob in self.image.blobs}
        expected |= {f"manifests/{reference}": self.image.manifest.data for reference in ("safe", self.image.digest)}
        with Wire(self.server) as wire:
            for path, data in expected.items():
                answer = wire.request("GET", f"/v2/{NAME}/{path}").expect()
                assert (answer.status, answer.body == data) == (200, True), path
        assert self.server.alive
        new = self._new_in_the_log()
        assert not [word for word in FAILURES if word in new], new

    def _new_in_the_log(self) -> str:
        with self.server.log.open("rb") as log:
            log.seek(self.looked_at)
            data = log.read()
        self.looked_at += len(data)
        return data.decode(errors="replace")


def keep(server: RegistryServer) -> Kept:
    """Push an image of two layers to a server."""
    image = images.image("kept", (3000, 300_000))
    with Client(server) as client:
        client.push(NAME, image, "safe")
    return Kept(server, image)
