"""What the cost is as work grows: six axes, each measured beside the law that it should follow.

``python -m benchmarks.scaling`` runs it. Where a point leaves its law there is something to find.
"""
