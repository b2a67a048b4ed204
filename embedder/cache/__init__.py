"""What remembers vectors between requests. A cache may forget; it never answers wrongly."""
