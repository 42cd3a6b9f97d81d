#!/bin/sh
# registry:2's image is given a configuration where its own lay, or as its command, or a command of its program; so is
# this one.
set -e
for file in /etc/docker/registry/config.yml /etc/distribution/config.yml; do
    if [ -z "${REGISTRY_CONFIGURATION_PATH:-}" ] && [ -f "$file" ]; then
        export REGISTRY_CONFIGURATION_PATH="$file"
    fi
done
case "${1:-}" in
    *.yml | *.yaml | '') set -- lading serve "$@" ;;
    /* | sh) ;;
    *) set -- lading "$@" ;;
esac
exec "$@"
