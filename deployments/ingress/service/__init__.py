"""The state of an ingress: models, pipelines, index, and admission."""
