"""Harbor's REST API v2.0: what its clients need to manage this registry."""
