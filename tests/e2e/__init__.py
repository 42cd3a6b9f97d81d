"""Real clients against a real server: docker, podman, skopeo, buildah and containerd's ctr."""
