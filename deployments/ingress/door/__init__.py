"""What every request passes before its route, and the one shape in which anything is refused."""
