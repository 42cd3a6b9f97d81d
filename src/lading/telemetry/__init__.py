"""What a registry tells of itself: log lines and figures, none of them with a secret in it."""
