"""One harness that measures this service beside its peers: in process, and over HTTP.

``python -m benchmarks.bench`` runs it; ``make bench`` installs the peers before. Plain FAISS is
the peer of ``python -m benchmarks.index``, and is not repeated here.
"""
