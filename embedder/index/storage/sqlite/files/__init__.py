"""SQLite files that no service uses: backups, and the stopped shard that is read or rebuilt."""
