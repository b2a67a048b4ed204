"""What an ingress reports of its work: metrics, the load for scaling, tokens by model and key."""
