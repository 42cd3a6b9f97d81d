"""What differs by vendor; no other folder knows a vendor's name."""
