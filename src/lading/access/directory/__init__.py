"""A directory of the organisation's people and groups, asked by LDAP; it knows nothing of users here."""
