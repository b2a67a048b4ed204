"""The routes for operators and load balancers."""
