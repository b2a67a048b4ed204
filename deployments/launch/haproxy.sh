#!/bin/sh
# Ray starts this file as HAProxy: see haproxy.py.
exec "$SERVICE_PYTHON" -m deployments.launch.haproxy "$@"
