"""The tests of Lading; helpers they share live in ``tests.support``."""
