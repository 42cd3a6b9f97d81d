"""The index: one SQL, written once with SQLAlchemy Core, run on the driver of the database in use."""
