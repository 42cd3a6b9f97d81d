"""Where identities come from, one file a source."""
