"""Other registries, folders and archives, all behind one protocol: what the client, a mirror and replication stand on."""
