"""Work on the stored points of an index without a service: copies, and a rebuilt index."""
