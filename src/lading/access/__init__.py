"""Who may: principals, scopes, and the guards that turn an ``Authorization`` header into a principal or a refusal."""
