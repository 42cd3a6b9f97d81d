"""Commands that run or tend a registry; one file a verb."""
