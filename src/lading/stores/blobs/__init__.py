"""The bytes: blobs by digest, and uploads on their way to become one."""
