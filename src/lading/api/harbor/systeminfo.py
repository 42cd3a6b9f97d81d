"""What kind of registry this is."""

from __future__ import annotations

import asyncio
import os

import msgspec

import lading
from lading.api.harbor.call import Call, Model, moment
from lading.api.request import Response
from lading.control.settings import read
from lading.stores.metadata.clock import local

FOLLOWS = "v2.13.0"
"""The Harbor whose API this is like; clients take decisions by it."""


class Information(Model):
    """What everybody may know comes first; the rest is for those who logged in."""

    auth_mode: str
    primary_auth_mode: bool
    self_registration: bool
    banner_message: str
    oidc_provider_name: str | None = None
    harbor_version: str | None = None
    external_url: str | None = None
    registry_url: str | None = None
    project_creation_restriction: str | None = None
    read_only: bool | None = None
    has_ca_root: bool | None = None
    notification_enable: bool | None = None
    registry_storage_provider_name: str | None = None
    current_time: str | None = None


class Version(Model):
    """The version of the API."""

    version: str


class Volume(msgspec.Struct):
    """A disk, in bytes."""

    total: int
    free: int


class Volumes(msgspec.Struct):
    """The disks that blobs are on; none is told of where they are in a bucket."""

    storage: list[Volume]


async def volumes(call: Call) -> Response:
    """How much room there is."""
    folder = call.services.manners.volume
    if folder is None:
        return call.json(Volumes([]))
    told = await asyncio.get_running_loop().run_in_executor(None, os.statvfs, folder)
    return call.json(Volumes([Volume(told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize)]))


async def version(call: Call) -> Response:
    """Which API is spoken here."""
    return call.json(Version(version="v2.0"))


async def get(call: Call) -> Response:
    """What clients look at before they do anything."""
    manners = call.services.manners
    settings = await call.services.metadata.read(read)
    source = await call.accounts.sources.current()
    provider = source.ways.provider
    told = Information(
        auth_mode=source.ways.mode,
        primary_auth_mode=source.primary,
        self_registration=call.accounts.settings.self_registration,
        banner_message=settings.banner,
        oidc_provider_name=provider.name if provider is not None else None,
    )
    if call.known:
        origin = manners.external or call.request.origin
        told.harbor_version = f"{FOLLOWS}-lading-{lading.__version__}"
        told.external_url = origin
        told.registry_url = origin.partition("://")[2]
        told.project_creation_restriction = settings.creators(call.accounts.settings)
        told.read_only = manners.read_only
        told.has_ca_root = False
        told.notification_enable = True
        told.registry_storage_provider_name = manners.store
        told.current_time = moment(local())
    return call.json(told)
