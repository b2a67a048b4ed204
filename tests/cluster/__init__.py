"""The service on a real Ray on this machine, tested over HTTP."""
