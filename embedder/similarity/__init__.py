"""Similarities, nearest rows, near duplicates, clusters, and MaxSim of token vectors, in numpy."""

from embedder.similarity.clustering import cluster
from embedder.similarity.late_interaction import maxsim
from embedder.similarity.metrics import similarity, similarity_blocks
from embedder.similarity.minibatch import cluster_in_batches
from embedder.similarity.mmr import maximal_marginal_relevance
from embedder.similarity.pairs import near_duplicates, pairs_between, pairs_within
from embedder.similarity.topk import top_k

__all__ = [
    "cluster",
    "cluster_in_batches",
    "maximal_marginal_relevance",
    "maxsim",
    "near_duplicates",
    "pairs_between",
    "pairs_within",
    "similarity",
    "similarity_blocks",
    "top_k",
]
