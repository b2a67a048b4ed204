"""What the processes of the service write to Serve's log, and in what form."""
