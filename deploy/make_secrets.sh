#!/bin/sh
# Make the secrets of compose.yaml in deploy/secrets, and print a key for clients. Files that exist
# are kept, so that a second run changes nothing.
set -eu
cd "$(dirname "$0")"
umask 022   # containers read the files as users of their own; the folder is private
mkdir -p secrets
chmod 700 secrets
cd secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -s "$1" ] || cat > "$1"; }

random | keep postgres_password
random | keep grafana_password
random | keep cache_password
echo "postgresql://embedder:$(cat postgres_password)@postgres:5432/points" | keep index_url
echo "redis://:$(cat cache_password)@valkey:6379/0" | keep cache_url
echo "user default on >$(cat cache_password) ~* &* +@all -@admin -@dangerous" | keep valkey_users
if [ ! -s keys ]; then
  key="emb-$(random)"
  digest=$(printf %s "$key" | sha256sum | cut -d' ' -f1)
  echo "- {name: compose, sha256: $digest, scopes: [read, write, admin]}" > keys
  echo "The key for clients, which is stored nowhere: $key"
fi
