"""The HTTP faces: they translate and never decide. A handler parses, calls one verb, renders."""
