"""Commands that work on any registry, and need no docker: they import ``oci`` and ``remotes``, never the server."""
