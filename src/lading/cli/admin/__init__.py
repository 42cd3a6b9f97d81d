"""``lading admin``: accounts from the shell of the machine the registry's store is on, running or not; one file a noun."""
