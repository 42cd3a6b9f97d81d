"""What a registry promised: the answers it gave, and what must hold because of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx2

from tests.support.http import Client
from tests.support.images import Blob, Image

Key = tuple[str, str, str]
"""``tag``, ``manifest`` or ``blob``; the repository; the tag or digest."""


@dataclass(frozen=True)
class Unfinished:
    """An upload of which the client was told that the first half arrived."""

    repository: str
    location: str
    blob: Blob


@dataclass
class Promises:
    """What holds after each answer: ``after[n]`` after the n-th, ``doing[n]`` what the next request may change.

    ``uploads[n]`` is what a client would go on with after the n-th answer.
    """

    after: list[dict[Key, str]] = field(default_factory=lambda: [{}])
    doing: list[set[Key]] = field(default_factory=list)
    uploads: dict[int, Unfinished] = field(default_factory=dict)

    def answered(self, keeps: Iterable[tuple[Key, str]] = (), drops: Iterable[Key] = ()) -> None:
        """A request was answered: from now on these keys lead to these digests, and those to nothing."""
        keeping, dropping = dict(keeps), set(drops)
        now = {key: digest for key, digest in self.after[-1].items() if key not in dropping}
        self.doing.append({*keeping, *dropping})
        self.after.append({**now, **keeping})

    def lapse(self, keys: Iterable[Key]) -> None:
        """What was promised no longer is, though it may still be there: nothing refers to it any more."""
        for key in keys:
            self.after[-1].pop(key, None)

    def at(self, answers: int) -> tuple[dict[Key, str], set[Key]]:
        """What holds after so many answers, and what may or may not have changed already."""
        return self.after[answers], self.doing[answers] if answers < len(self.doing) else set()


class Pusher:
    """Sends requests one after the other and notes what each answer promises."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.promises = Promises()

    def push(self, repository: str, made: Image, *tags: str) -> None:
        """The first blob in one request, the others in chunks, then the manifest under each tag."""
        first, *rest = made.blobs
        self._whole(repository, first)
        for blob in rest:
            self._in_chunks(repository, blob)
        for tag in tags:
            self.manifest(repository, made, tag)

    def _whole(self, repository: str, blob: Blob) -> None:
        url = f"/v2/{repository}/blobs/uploads/"
        done = self.client.post(url, params={"digest": blob.digest}, content=blob.data)
        assert done.status_code == 201, done.text
        self.promises.answered([(("blob", repository, blob.digest), blob.digest)])

    def _in_chunks(self, repository: str, blob: Blob) -> None:
        begun = self.client.post(f"/v2/{repository}/blobs/uploads/")
        self.promises.answered()
        half = blob.size // 2
        sent = self.client.patch(begun.headers["location"], content=blob.data[:half])
        assert sent.status_code == 202, sent.text
        self.promises.answered()
        unfinished = Unfinished(repository, sent.headers["location"], blob)
        self.promises.uploads[len(self.promises.doing)] = unfinished
        target = httpx2.URL(sent.headers["location"]).copy_merge_params({"digest": blob.digest})
        assert self.client.put(target, content=blob.data[half:]).status_code == 201
        self.promises.answered([(("blob", repository, blob.digest), blob.digest)])

    def manifest(self, repository: str, made: Image, tag: str) -> None:
        """Put the manifest alone."""
        self.client.push_manifest(repository, made.manifest, tag)
        keys: list[Key] = [("tag", repository, tag), ("manifest", repository, made.digest)]
        self.promises.answered((key, made.digest) for key in keys)

    def mount(self, blob: Blob, source: str, repository: str) -> None:
        """Make a blob of another repository visible."""
        done = self.client.post(f"/v2/{repository}/blobs/uploads/", params={"mount": blob.digest, "from": source})
        assert done.status_code == 201, done.text
        self.promises.answered([(("blob", repository, blob.digest), blob.digest)])

    def delete_tag(self, repository: str, tag: str) -> None:
        assert self.client.delete(f"/v2/{repository}/manifests/{tag}").status_code == 202
        self.promises.answered(drops=[("tag", repository, tag)])

    def delete(self, repository: str, made: Image, *tags: str) -> None:
        """Delete a manifest, which these tags point to; its blobs are from now on the collector's."""
        assert self.client.delete(f"/v2/{repository}/manifests/{made.digest}").status_code == 202
        drops: list[Key] = [("manifest", repository, made.digest), *(("tag", repository, tag) for tag in tags)]
        self.promises.answered(drops=drops)

    def forget(self, repository: str, made: Image) -> None:
        """Nothing refers to these blobs any more, and a collection is about to begin."""
        self.promises.lapse(("blob", repository, blob.digest) for blob in made.blobs)
