"""The control plane: what is kept and done around the content, one noun one file."""
