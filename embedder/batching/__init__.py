"""Which waiting work goes to a device together (packing), and the loop that sends it (batcher)."""
