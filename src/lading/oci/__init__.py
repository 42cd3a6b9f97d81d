"""The content model: values and grammar of the OCI image and distribution specifications. No I/O, no clock, no async."""
