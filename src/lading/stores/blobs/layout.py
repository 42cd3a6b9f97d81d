"""Every path of registry:2's storage tree, drawn once. ``<root>`` is its ``rootdirectory``::

    <root>/docker/registry/v2/
    ├── blobs/<algorithm>/<first two hex digits>/<hex>/data            content: manifests and layers alike
    └── repositories/<name>/
        ├── _layers/<algorithm>/<hex>/link                             "<algorithm>:<hex>": blob visible here
        ├── _manifests/
        │   ├── revisions/<algorithm>/<hex>/link                       manifest visible here
        │   └── tags/<tag>/
        │       ├── current/link                                       what the tag points to
        │       └── index/<algorithm>/<hex>/link                       everything it ever pointed to
        └── _uploads/<uuid>                                            bytes on their way; registry:2: a folder

Lading keeps blobs and uploads there and everything else in its index, which by default lies beside::

    <root>/lading/index.sqlite

In an object store, what there is of an upload stands in a folder of its own, so that finding all of them does not mean
to list what registry:2 left in ``repositories``::

    <root>/lading/uploads/<name>/<uuid>/{record,piece-…}
"""

from __future__ import annotations

from pathlib import Path

from lading.oci.digest import Digest


class Layout:
    """The paths below one root directory.

    Where a blob or an upload lies comes as text: every push and pull asks, and a ``Path`` costs more than to open the file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "docker" / "registry" / "v2"
        self.blobs = self.base / "blobs"
        self.repositories = self.base / "repositories"
        self.own = root / "lading"
        self.sessions = self.own / "uploads"
        self.index = self.own / "index.sqlite"
        self._blobs, self._repositories = str(self.blobs), str(self.repositories)

    def blob_neighbours(self, digest: Digest) -> str:
        """The folder with the folders of all blobs whose digests begin as this one."""
        algorithm, _, encoded = digest.partition(":")
        return f"{self._blobs}/{algorithm}/{encoded[:2]}"

    def blob_directory(self, digest: Digest) -> str:
        """The folder that holds one blob."""
        algorithm, _, encoded = digest.partition(":")
        return f"{self._blobs}/{algorithm}/{encoded[:2]}/{encoded}"

    def blob(self, digest: Digest) -> str:
        """The bytes of one blob."""
        return f"{self.blob_directory(digest)}/data"

    def repository(self, name: str) -> Path:
        """A repository's folder."""
        return self.repositories / name

    def upload(self, repository: str, uuid: str) -> str:
        """The file of one unfinished upload."""
        return f"{self._repositories}/{repository}/_uploads/{uuid}"

    def session(self, repository: str, uuid: str) -> str:
        """The folder of what an object store knows of one unfinished upload."""
        return f"{self.sessions}/{repository}/{uuid}"

    def layer_link(self, repository: str, digest: Digest) -> Path:
        """The file that makes a blob visible in a repository."""
        return self.repository(repository) / "_layers" / digest.algorithm / digest.hex / "link"

    def revision_link(self, repository: str, digest: Digest) -> Path:
        """The file that makes a manifest visible in a repository."""
        return self.repository(repository) / "_manifests" / "revisions" / digest.algorithm / digest.hex / "link"

    def tag(self, repository: str, tag: str) -> Path:
        """A tag's folder."""
        return self.repository(repository) / "_manifests" / "tags" / tag
