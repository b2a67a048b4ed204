"""The service as it is run: one real Ray on this machine, spoken to over HTTP."""
