"""The service around the library, without a Ray that runs."""
