"""The stores: bytes (``blobs/``) and rows (``metadata/``). No rule of the registry lives here."""
