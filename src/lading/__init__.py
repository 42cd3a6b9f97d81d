"""Lading: a container registry.

Imports go down this ladder and never up; siblings on a rung (``|``) do not import each other::

    cli
    app
    settings
    api
    control
    registry | access
    jobs | remotes
    stores
    oci | config | telemetry
    errors

``make check`` holds it (``[tool.importlinter]`` in ``pyproject.toml``).
"""

__version__ = "0.1.0"
