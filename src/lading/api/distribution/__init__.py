"""``/v2/``: the OCI distribution specification 1.1 and the Docker registry API v2."""
