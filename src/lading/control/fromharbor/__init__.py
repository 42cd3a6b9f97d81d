"""From a Harbor: what its API tells of users, projects, robots, settings and replication, made here; a file for each."""
