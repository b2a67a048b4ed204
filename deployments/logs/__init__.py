"""The records that the processes of the service write to Serve's log, and their form."""
