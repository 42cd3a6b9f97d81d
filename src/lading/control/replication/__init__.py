"""Images brought to other registries and from them: endpoints, policies, and what became of each time."""
