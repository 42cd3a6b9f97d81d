"""The command line: ``lading``. ``server/`` runs and tends a registry."""
