"""What every HTTP request passes before its route."""
