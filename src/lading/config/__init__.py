"""Configuration: registry:2's YAML and ``REGISTRY_*`` variables, with Lading's own sections beside them.

``values``       durations, sizes, addresses: how a scalar is read (no pydantic here)
``reader``       YAML text → a tree of maps, lists and scalars, read as registry:2's parser reads them
``fields``       what a section and a key are: types, descriptions, "no effect", "refused"
``log`` … ``own``  the sections, one file each
``model``        ``Configuration``, the whole
``shape``        how the model looks to a walker: structs, maps, lists
``environment``  the override rule
``checks``       what only the whole can tell: refusals, notices, contradictions
``load``         path and environment → ``Configuration`` or ``ConfigurationError``
``document``     writes ``docs/reference/configuration.md``

The sections do without ``from __future__ import annotations``: pydantic would compile each annotation once more, which
is a tenth of the time that the model takes to import.
"""
